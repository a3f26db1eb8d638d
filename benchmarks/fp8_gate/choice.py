"""The bounds of the gate, and how products are chosen by them. No torch, no pictures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from leyden_server.denoiser.float8_products import Product
from leyden_training.evaluation.intervals import Interval

__all__ = [
    "FRECHET_RATIO",
    "PSNR_LOSS_DB",
    "TOLD_APART",
    "Choice",
    "Measured",
    "Products",
    "choose",
]

FRECHET_RATIO = 1.03
"""Most that the Fréchet distance to the renderer's pictures may grow by, over bfloat16's: the
upper end of the ratio's interval."""
PSNR_LOSS_DB = 1.5
"""Most decibels that the PSNR to float32's pictures may lie below bfloat16's: its mean."""
TOLD_APART = 0.55
"""Most pictures of which may be told whether they are these or bfloat16's; 0.5 is guessing."""

Products = frozenset[Product]


@dataclass(frozen=True)
class Measured:
    """What one choice of products does to one model's pictures, beside bfloat16."""

    subject: str
    psnr_db: Interval
    """Mean PSNR to the pictures in float32."""
    psnr_loss_db: Interval
    """How much lower that is than bfloat16's."""
    frechet_ratio: Interval
    told_apart: Interval
    """Share of pictures, each looked at alone."""
    side_by_side: Interval
    """The same of both pictures of a prompt and its noise together: for information alone."""

    @property
    def misses(self) -> tuple[str, ...]:
        """What is beyond its bound. A figure that is not known is."""
        within = {
            "frechet_ratio": self.frechet_ratio.high <= FRECHET_RATIO,
            "psnr_loss_db": self.psnr_loss_db.estimate <= PSNR_LOSS_DB,
            "told_apart": self.told_apart.estimate <= TOLD_APART,
        }
        return tuple(name for name, is_within in within.items() if not is_within)

    def as_json(self) -> dict[str, Any]:
        """As a dictionary of what JSON has."""
        intervals = {
            name: getattr(self, name).as_json() for name in asdict(self) if name != "subject"
        }
        return {"subject": self.subject, **intervals, "misses": list(self.misses)}


@dataclass(frozen=True)
class Choice:
    """What may be in 8-bit floats, and why."""

    alone: Mapping[Product, Sequence[Measured]]
    """Each product by itself, up to the first model that it fails on."""
    together: Sequence[tuple[Products, Sequence[Measured]]]
    """All that passed alone, then fewer, until the whole passes."""
    chosen: Products


def choose(
    candidates: Iterable[Product], measure: Callable[[Products], Iterator[Measured]]
) -> Choice:
    """Choose the products that pass on every model, alone and together.

    Where the whole fails, the product goes that by itself loses the most decibels on any model, and
    the rest is tried again.

    Args:
        candidates: the products to try.
        measure: of a choice, one model after another; it is not asked on after a failure.

    """
    alone = {product: _tried(measure, frozenset([product])) for product in candidates}
    left = {product: found for product, found in alone.items() if _all_pass(found)}
    together = []
    while left:
        found = _tried(measure, frozenset(left))
        together.append((frozenset(left), found))
        if _all_pass(found):
            break
        del left[max(left, key=lambda product: _most_lost_db(left[product]))]
    return Choice(alone, together, frozenset(left))


def _tried(
    measure: Callable[[Products], Iterator[Measured]], products: Products
) -> tuple[Measured, ...]:
    found = []
    for measured in measure(products):
        found.append(measured)
        if measured.misses:
            break
    return tuple(found)


def _all_pass(found: Iterable[Measured]) -> bool:
    return not any(measured.misses for measured in found)


def _most_lost_db(found: Iterable[Measured]) -> float:
    return max(measured.psnr_loss_db.estimate for measured in found)
