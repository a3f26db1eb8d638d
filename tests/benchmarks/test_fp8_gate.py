"""The gate's arithmetic on known values, and the server's choice beside what the gate found."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from benchmarks.conditions import REPOSITORY
from benchmarks.fp8_gate.choice import OPERATIONS, Measured, Products, choose
from benchmarks.fp8_gate.measures import main_axes, psnr_db
from benchmarks.fp8_gate.report import tables

from leyden_server.denoiser import float8_products
from leyden_server.denoiser.float8_products import PRODUCTS, Product, chosen_for
from leyden_training.evaluation.intervals import Interval

FOUND = REPOSITORY / "benchmarks" / "results" / float8_products.GATE


def interval(estimate: float, high: float | None = None) -> Interval:
    return Interval(estimate, estimate, estimate if high is None else high)


def measured(
    subject: str = "student",
    *,
    lost_db: float = 0.0,
    ratio_high: float = 1.0,
    told: float = 0.5,
) -> Measured:
    return Measured(
        subject=subject,
        psnr_db=interval(48.0 - lost_db),
        psnr_loss_db=interval(lost_db, lost_db + 9),
        frechet_ratio=interval(1.0, ratio_high),
        told_apart=interval(told, told + 0.4),
        side_by_side=interval(1.0),
    )


@pytest.mark.parametrize(
    ("one", "misses"),
    [
        (measured(lost_db=1.5, ratio_high=1.03, told=0.55), ()),
        (measured(lost_db=-2.0), ()),
        (measured(lost_db=1.51), ("psnr_loss_db",)),
        (measured(ratio_high=1.031), ("frechet_ratio",)),
        (measured(told=0.56), ("told_apart",)),
        (
            measured(lost_db=2, ratio_high=2, told=1),
            ("frechet_ratio", "psnr_loss_db", "told_apart"),
        ),
        (measured(ratio_high=float("nan")), ("frechet_ratio",)),
        (measured(ratio_high=float("inf")), ("frechet_ratio",)),
    ],
)
def test_what_is_beyond_its_bound_is_named(one: Measured, misses: tuple[str, ...]) -> None:
    assert one.misses == misses
    assert one.as_json()["misses"] == list(misses)
    assert json.loads(json.dumps(one.as_json(), allow_nan=False))["subject"] == "student"


LOST_DB: Mapping[Product, float] = {
    "self_qkv": 0.5,
    "self_out": 3.0,
    "cross_q": 0.125,
    "cross_out": 0.125,
    "feed_forward_in": 1.0,
    "feed_forward_out": 0.75,
}


def test_what_passes_alone_and_together_is_chosen() -> None:
    asked: list[Products] = []

    def measure(products: Products) -> Iterator[Measured]:
        asked.append(products)
        yield measured(lost_db=sum(LOST_DB[product] for product in products))

    found = choose(PRODUCTS, measure)

    assert found.alone["self_out"][0].misses == ("psnr_loss_db",)
    without: Products = frozenset(PRODUCTS) - {"self_out"}
    # 2.5 dB together. Of the sets that lose 1.5 at most this computes the most: 11 of 17 parts.
    tried = [products for products, _ in found.together]
    assert tried[0] == without
    parts = [sum(OPERATIONS[product] for product in products) for products in tried]
    assert parts == sorted(parts, reverse=True)
    assert parts[0] == 17
    assert found.chosen == tried[-1] == {"self_qkv", "feed_forward_in"}
    assert parts[-1] == 11
    assert asked[:6] == [frozenset([product]) for product in PRODUCTS]


def test_every_model_has_to_pass_and_none_is_asked_after_a_failure() -> None:
    asked: list[str] = []

    def measure(products: Products) -> Iterator[Measured]:
        for subject, lost_db in (("student", 0.0), ("teacher", 2.0), ("other", 0.0)):
            asked.append(subject)
            yield measured(subject, lost_db=lost_db if "cross_q" in products else 0.0)

    found = choose(["cross_q", "self_qkv"], measure)

    assert found.chosen == {"self_qkv"}
    assert [one.subject for one in found.alone["cross_q"]] == ["student", "teacher"]
    assert asked == ["student", "teacher", *["student", "teacher", "other"] * 2]


def test_nothing_may_be_left() -> None:
    found = choose(PRODUCTS, lambda _: iter([measured(told=0.9)]))
    assert found.chosen == frozenset()
    assert found.together == []


def test_psnr_is_of_each_picture() -> None:
    exact = torch.full((3, 4, 4, 3), 0.5)
    pictures = exact.clone()
    pictures[0] += 0.1
    pictures[1, 0, 0, 0] += 0.1 * 48**0.5  # as much in one of 48 values
    found = psnr_db(pictures, exact)
    np.testing.assert_allclose(found[:2], [20.0, 20.0], atol=1e-4)
    assert found[2] == np.inf


def test_main_axes_are_where_features_vary() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 5)) * [0.1, 9.0, 0.1, 3.0, 0.1] + 7
    axes = main_axes(features, 2)
    np.testing.assert_allclose(np.abs(axes), np.eye(5)[:, [1, 3]], atol=0.05)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)


def test_the_page_shows_what_the_gate_found() -> None:
    page = (REPOSITORY / "docs" / "fp8.md").read_text(encoding="utf-8")
    assert tables(json.loads(FOUND.read_text(encoding="utf-8"))) in page


def test_the_servers_choice_is_what_the_gate_found() -> None:
    groups = json.loads(FOUND.read_text(encoding="utf-8"))["groups"]
    models = {
        "fewer than 4 steps": (1, 2, 3),
        "4 to 7 steps": (4, 7),
        "8 steps and more": (8, 25, 50),
    }
    assert models.keys() == groups.keys()
    for name, steps in models.items():
        for one in steps:
            assert sorted(chosen_for(one)) == groups[name]["chosen"]
    for group in groups.values():
        passed = [
            one["measured"] for one in group["together"] if one["products"] == group["chosen"]
        ]
        assert passed or not group["chosen"]
        for one in passed:
            assert [measured["misses"] for measured in one] == [[]] * len(group["subjects"])
