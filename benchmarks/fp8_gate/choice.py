"""The bounds of the gate, and how products are chosen by them. No torch, no pictures."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
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

OPERATIONS: Mapping[Product, int] = {
    "self_qkv": 3,
    "self_out": 1,
    "cross_q": 1,
    "cross_out": 1,
    "feed_forward_in": 8,
    "feed_forward_out": 4,
}
"""Multiplications of a token, by the width of its block squared: what a product takes of a step.
A GEGLU has twice four widths, and four go on."""

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
    """Sets of those that passed alone, by how much they compute, until one passes."""
    chosen: Products


def choose(
    candidates: Iterable[Product],
    measure: Callable[[Products], Iterator[Measured]],
    ahead: Callable[[Products], None] = lambda _: None,
) -> Choice:
    """Choose the products that pass on every model, alone and together.

    Of those that pass alone, the set is taken that computes the most of a step and passes as one;
    of two that compute as much the one is tried first whose products alone lose fewer decibels.

    Args:
        candidates: the products to try.
        measure: of a choice, one model after another; it is not asked on after a failure.
        ahead: told which set `measure` is asked about next, should the one before fail.

    """
    alone = {product: _tried(measure, frozenset([product])) for product in candidates}
    lost_db = {
        product: _most_lost_db(found) for product, found in alone.items() if _all_pass(found)
    }
    together = []
    for products, following in pairwise([*_sets(lost_db), frozenset[Product]()]):
        ahead(following)
        found = _tried(measure, products)
        together.append((products, found))
        if _all_pass(found):
            return Choice(alone, together, products)
    return Choice(alone, together, frozenset())


def _sets(lost_db: Mapping[Product, float]) -> list[Products]:
    """Return all sets of these products but the empty one, as they are to be tried."""

    def rank(products: Collection[Product]) -> tuple[float, float]:
        computed = sum(OPERATIONS[product] for product in products)
        return -computed, sum(max(lost_db[product], 0.0) for product in products)

    sizes = range(1, len(lost_db) + 1)
    sets = [frozenset(some) for size in sizes for some in combinations(lost_db, size)]
    return sorted(sets, key=rank)


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
