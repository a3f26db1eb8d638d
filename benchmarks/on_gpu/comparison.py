"""How far outputs are from those of eager float32 on the same weights, and how far is too far."""

from dataclasses import asdict, dataclass

import torch

__all__ = ["TOLERANCES", "Comparison", "compare"]

TOLERANCES = {torch.bfloat16: 0.05, torch.float32: 1e-3}
"""Largest accepted relative error by dtype. One forward of the full-size UNet in bfloat16 was
0.008 from float32 (on a CPU, 16 x 16 latents, these random weights); four steps add up."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One output against its reference."""

    relative: float
    """Norm of the difference over the norm of the reference."""
    max_abs: float
    mean_abs: float
    tolerance: float
    """Of `relative`."""

    @property
    def agrees(self) -> bool:
        """Whether it is within the tolerance. A NaN is not."""
        return self.relative <= self.tolerance

    def as_dict(self) -> dict[str, float | bool]:
        """Return what the JSON has."""
        return {**asdict(self), "agrees": self.agrees}


def compare(output: torch.Tensor, reference: torch.Tensor, *, tolerance: float) -> Comparison:
    """Compare tensors of one shape.

    The reference should be free of what both have in common without having computed it: the
    initial noise is far larger than what four steps of a random UNet add to it.
    """
    difference = (output.double() - reference.double()).abs()
    return Comparison(
        relative=float(difference.norm() / reference.double().norm()),
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        tolerance=tolerance,
    )
