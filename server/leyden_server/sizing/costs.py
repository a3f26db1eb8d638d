"""What each stage was measured to take on one kind of GPU. Nothing here is estimated.

`benchmarks/plan_costs.py` makes such a file of what `benchmarks/gpu.py` and its like measured.
"""

from importlib.resources import files
from pathlib import Path

from pydantic import Field, field_validator

from leyden_server.accelerator.row_caps import smallest_good_row_count
from leyden_server.accelerator.row_times import RowTimes
from leyden_server.errors import ConfigError
from leyden_server.strict_model import StrictModel

__all__ = ["Costs", "GatewayCosts", "RunCosts", "costs_of", "known_gpus", "read_costs"]


class RunCosts(StrictModel):
    """What a run of a model takes, by the rows in it."""

    seconds: dict[int, float] = Field(min_length=1)
    """Wall time of a run alone on the GPU, by its number of rows; others are padded up."""

    memory_gib: dict[int, float] = Field(min_length=1)
    """GPU memory that torch held at the most, by the rows; CUDA's own context comes on top."""

    @field_validator("seconds", "memory_gib")
    @classmethod
    def _rows_and_values_are_positive(cls, value: dict[int, float]) -> dict[int, float]:
        if any(rows < 1 or measured <= 0 for rows, measured in value.items()):
            raise ValueError("rows from 1, and values above 0")
        return dict(sorted(value.items()))

    @property
    def most_rows(self) -> int:
        """The largest run that was measured."""
        return max(self.seconds)

    def run_s(self, rows: int) -> float:
        """Return what a run of so many rows takes: that of the next larger one measured.

        On a GPU the stages pad to powers of two, and those are what was measured.
        """
        return next(seconds for measured, seconds in self.seconds.items() if measured >= rows)

    def row_times(self, most: int) -> RowTimes:
        """Return what a denoiser replica's warm-up finds, with at most so many rows."""
        return RowTimes(tuple(map(self.run_s, range(1, min(most, self.most_rows) + 1))))

    def good_rows(self, most: int) -> int:
        """Return the cap that a VAE replica's warm-up finds, with at most so many images."""
        # The warm-up doubles the rows, and tries `most` in the end.
        tried = {n for n in self.seconds if n == most or (n < most and n.bit_count() == 1)}
        return smallest_good_row_count({rows: self.seconds[rows] for rows in tried})

    def memory_up_to(self, rows: int) -> float:
        """Return the memory in GiB of runs up to so many rows."""
        return max(gib for measured, gib in self.memory_gib.items() if measured <= rows)


class GatewayCosts(StrictModel):
    """CPU time of one Gateway's event loop, in seconds."""

    request_s: float = Field(gt=0)
    """For a request of one image, whatever its steps are."""
    step_s: float = Field(ge=0)
    """For each denoise step of it, over Ray and over gRPC."""
    refusal_s: float = Field(gt=0)
    """For a request that is refused."""
    claim_s: float = Field(gt=0)
    """Of the directory's process, for the name of one request that its client named."""
    measured: str
    """On which machine, and how."""


class Costs(StrictModel):
    """All of one kind of GPU."""

    gpu: str
    """As its driver calls it."""
    gpu_memory_gib: float = Field(gt=0)
    model: str
    """What was measured: architecture, weights, precision, execution."""
    measured: str
    """When, with which versions."""
    sources: tuple[str, ...] = ()
    """Files of results, below benchmarks/results."""
    text_encoder: RunCosts
    """By prompts."""
    denoiser: dict[int, RunCosts] = Field(min_length=1)
    """A denoise step, by the image's side in pixels, then by UNet rows."""
    vae: dict[int, RunCosts] = Field(min_length=1)
    """A decode, by the image's side in pixels, then by images."""
    image_encode_s_per_megapixel: float = Field(gt=0)
    """PNG, in one thread of a CPU, beside the VAE."""
    between_stages_s: float = Field(ge=0)
    """Of an image that is alone: all that is no stage's own run, from the client's call to its
    last event, the Gateway's work and Ray's and gRPC's hand-overs."""
    start_s: float = Field(gt=0)
    """From the command to the first request that is served."""
    host_memory_gib: dict[str, float] = Field(default_factory=dict)
    """Of a stage's process as it loads, at the most, by the stage."""
    gateway: GatewayCosts

    @property
    def sizes_px(self) -> tuple[int, ...]:
        """Sides of the images that both stages were measured at."""
        return tuple(sorted(set(self.denoiser) & set(self.vae)))


def known_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that were measured."""
    folder = files(__package__) / "costs"
    return tuple(
        sorted(
            file.name.removesuffix(".json")
            for file in folder.iterdir()
            if file.name.endswith(".json")
        )
    )


def costs_of(gpu: str) -> Costs:
    """Return what was measured on a GPU.

    Raises:
        ConfigError: on that one nothing was.

    """
    if gpu not in known_gpus():
        raise ConfigError(
            f"--gpu: nothing was measured on {gpu!r}; known are {', '.join(known_gpus())}. "
            "Measure yours (docs/sizing.md, Another GPU) and give the file with --costs"
        )
    file = files(__package__) / "costs" / f"{gpu}.json"
    return read_costs(Path(str(file)))


def read_costs(path: Path) -> Costs:
    """Return the costs in a file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.

    """
    # JSON is YAML, and errors name the key.
    return Costs.from_yaml(path, ConfigError)
