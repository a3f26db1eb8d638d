"""What decides an image beside its prompt: the one list of these fields, carried whole."""

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Sampling", "SolverName"]

SolverName = Literal["euler", "euler_ancestral", "lcm", "tcd", "dpmpp_2m", "dpmpp_2m_sde"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one image is sampled, every default filled in."""

    seed: int
    """Of the image's initial noise, and of what its solver draws."""
    width_px: int
    height_px: int
    num_inference_steps: int
    guidance_scale: float
    solver: SolverName

    def of_image(self, index: int) -> "Sampling":
        """Return that of a request's image `index`: its seed is `index` further."""
        return replace(self, seed=self.seed + index)

    def as_dict(self) -> dict[str, object]:
        """Return the fields by their names, as files and logs carry them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
