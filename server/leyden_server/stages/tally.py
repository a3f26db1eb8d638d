"""What stages count, told with their answers: each number once, to one caller.

So the numbers of all Gateways add up, whichever of them a stage has answered.
"""

from dataclasses import dataclass

__all__ = ["DeviceMemory", "EngineTally", "UNetRun"]


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of the accelerator that a replica runs on, of the last second."""

    reserved_bytes: int
    """Held by the replica's process."""
    used_bytes: int
    """Held by all processes on the device."""
    total_bytes: int


@dataclass(frozen=True, slots=True)
class UNetRun:
    """One step of all the images that shared it."""

    rows: int
    padded_rows: int
    """Rows that were computed beside them for nobody."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class EngineTally:
    """What a Denoiser replica has done since it last told anybody."""

    runs: tuple[UNetRun, ...] = ()
    """Those that succeeded, of the warm-up none."""
    images_left: int = 0
    """Images that left before their last step, since nobody wanted them any more."""
    rows_saved: int = 0
    """UNet rows that would have run for them: rows times steps left."""
