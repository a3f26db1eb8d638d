"""What a part's parameters are called and shaped, in diffusers' names and in the original ones.

`Parameter`s are made from a config alone, by `unet_layout`, `vae_layout` and `clip_layout`. A test
holds them to what diffusers and transformers make of the same config.
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Layout", "Parameter", "conv", "linear", "norm"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a part, and where the original SDXL layout keeps it."""

    name: str
    """As in diffusers' and transformers' published files."""
    shape: tuple[int, ...]
    original: str
    """Its name in the original layout, without the part's prefix."""
    third: int | None = None
    """Which third of the original's rows it is: 0, 1 and 2 of a query, key and value in one."""
    transposed: bool = False
    """Whether the original has rows and columns the other way round."""

    @property
    def is_rearranged(self) -> bool:
        """Whether the original has it in another order, or others beside it in one tensor."""
        return self.transposed or self.third is not None

    @property
    def original_shape(self) -> tuple[int, ...]:
        """The shape of the tensor that `original` names."""
        if self.third is not None:
            return (3 * self.shape[0], *self.shape[1:])
        return self.shape[::-1] if self.transposed else self.shape


Layout = dict[str, Parameter]
"""The parameters of a part, by name."""


def linear(
    name: str, out: int, into: int, original: str | None = None, *, bias: bool = True
) -> Iterable[Parameter]:
    """Give the parameters of a linear layer."""
    return _pair(name, (out, into), original, bias)


def conv(
    name: str, out: int, into: int, kernel: int, original: str | None = None
) -> Iterable[Parameter]:
    """Give the parameters of a convolution."""
    return _pair(name, (out, into, kernel, kernel), original, True)


def norm(name: str, width: int, original: str | None = None) -> Iterable[Parameter]:
    """Give the parameters of a GroupNorm or LayerNorm."""
    return _pair(name, (width,), original, True)


def _pair(
    name: str, shape: tuple[int, ...], original: str | None, bias: bool
) -> Iterable[Parameter]:
    stem = name if original is None else original
    yield Parameter(f"{name}.weight", shape, f"{stem}.weight")
    if bias:
        yield Parameter(f"{name}.bias", shape[:1], f"{stem}.bias")
