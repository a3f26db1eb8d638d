"""`leyden generate --from FILE`: the options that make an image file again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leyden_client._image_file import ImageFileError, read_image_file
from leyden_client.options import OutputFormat, Solver

INT32_MAX = 2**31 - 1
SEED_MAX = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What makes an image; each default leaves the choice to the server."""

    prompt: str | None = None
    model: str = ""
    model_revision: str = ""
    negative_prompt: str = ""
    seed: int | None = None
    width_px: int = 0
    height_px: int = 0
    num_inference_steps: int = 0
    guidance_scale: float | None = None
    solver: Solver = Solver.UNSPECIFIED
    output_format: OutputFormat | None = None
    output_quality: int = 0
    unknown: tuple[str, ...] = ()
    """Names of parameters that the file has and this client does not know."""


_NAMES = frozenset(Recipe.__dataclass_fields__) - {"unknown", "output_format"}


def read_recipe(path: Path) -> Recipe:
    """Read what makes the image file at `path` again.

    Raises:
        ImageFileError: the file carries no parameters, or one that cannot be.
        OSError: it cannot be read.

    """
    file = read_image_file(path)
    parameters = _Parameters(path, file.parameters)
    return Recipe(
        prompt=parameters.text("prompt"),
        model=parameters.text("model"),
        model_revision=parameters.text("model_revision"),
        negative_prompt=parameters.text("negative_prompt"),
        seed=parameters.whole_number("seed", SEED_MAX) if "seed" in file.parameters else None,
        width_px=parameters.whole_number("width_px", INT32_MAX),
        height_px=parameters.whole_number("height_px", INT32_MAX),
        num_inference_steps=parameters.whole_number("num_inference_steps", INT32_MAX),
        guidance_scale=parameters.guidance_scale(),
        solver=parameters.solver(),
        output_format=file.format,
        output_quality=parameters.whole_number("output_quality", 100),
        unknown=tuple(sorted(file.parameters.keys() - _NAMES)),
    )


class _Parameters:
    """Reads parameters as the types that they must have; one that is missing is zero."""

    def __init__(self, path: Path, values: Mapping[str, object]) -> None:
        self._path = path
        self._values = values

    def text(self, name: str) -> str:
        value = self._values.get(name, "")
        if not isinstance(value, str):
            raise self._wrong(name, "text")
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold
            raise self._wrong(name, "text in Unicode") from None
        return value

    def whole_number(self, name: str, high: int) -> int:
        value = self._values.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
            raise self._wrong(name, f"a whole number from 0 to {high}")
        return value

    def guidance_scale(self) -> float | None:
        value = self._values.get("guidance_scale")
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong("guidance_scale", "a number")
        if not math.isfinite(value) or abs(value) > 1e6:
            raise self._wrong("guidance_scale", "a number of at most 1000000")
        return float(value)

    def solver(self) -> Solver:
        name = self.text("solver")
        if not name:
            return Solver.UNSPECIFIED
        known = [solver.value for solver in Solver if solver is not Solver.UNSPECIFIED]
        if name not in known:
            raise self._wrong("solver", f"one of {', '.join(known)}")
        return Solver(name)

    def _wrong(self, name: str, allowed: str) -> ImageFileError:
        value = repr(self._values.get(name))
        shown = value if len(value) <= 60 else f"{value[:60]}..."
        return ImageFileError(f"{self._path} has {name} {shown}, which is not {allowed}")
