"""The arithmetic of the evaluation, against closed forms and simulations of known truth."""

import numpy as np
import pytest

from leyden_training.data.scene import ATTRIBUTES
from leyden_training.evaluation.adherence import OVERALL, adherence
from leyden_training.evaluation.frechet import (
    bootstrap_distances,
    distance_of_sets,
    frechet_distance,
)
from leyden_training.evaluation.intervals import Estimate, Floats, resamples, wilson
from leyden_training.evaluation.two_sample import FOLDS, folds, side_by_side, singly

WIDTH = 6


def rotated(values: list[float], rng: np.random.Generator) -> Floats:
    basis, _ = np.linalg.qr(rng.standard_normal((len(values), len(values))))
    matrix: Floats = basis * np.array(values) @ basis.T
    return matrix


def test_distance_of_gaussians_that_share_their_axes() -> None:
    """Then it is |m_a - m_b|² + Σ (√a_i - √b_i)²."""
    a, b = [4.0, 1.0, 0.25], [1.0, 1.0, 2.25]
    rng = np.random.default_rng(3)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    mean = np.array([1.0, -2.0, 0.5])
    found = frechet_distance(
        mean, basis * np.array(a) @ basis.T, np.zeros(3), basis * np.array(b) @ basis.T
    )
    assert found == pytest.approx(5.25 + 1 + 0 + 1, rel=1e-9)


def test_distance_of_gaussians_whose_covariances_do_not_commute() -> None:
    """In two dimensions tr √M = √(tr M + 2 √det M)."""
    rng = np.random.default_rng(5)
    a, b = rotated([3.0, 0.5], rng), rotated([1.0, 2.0], rng)
    product = a @ b
    assert not np.allclose(product, product.T)
    root_trace = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(a) + np.trace(b) - 2 * root_trace
    assert frechet_distance(np.zeros(2), a, np.zeros(2), b) == pytest.approx(expected, rel=1e-9)


def test_distance_of_a_set_from_itself_is_zero() -> None:
    features = np.random.default_rng(0).standard_normal((50, 48))  # a singular covariance
    assert distance_of_sets(features, features) == pytest.approx(0, abs=1e-6)


def test_bias_is_taken_off_and_intervals_contain_the_truth() -> None:
    """Fifty simulations with a known distance: 95% intervals may miss a few of them."""
    truth = WIDTH * 0.3**2 + WIDTH * (1.2 - 1) ** 2
    plain, estimates, contained = [], [], 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        reference = rng.standard_normal((100, 2, WIDTH))
        features = 0.3 + 1.2 * rng.standard_normal((100, WIDTH))
        found = bootstrap_distances(reference, {"x": features}, resamples(100, 200, seed))["x"]
        interval = found.interval()
        contained += interval.low <= truth <= interval.high
        plain.append(distance_of_sets(reference.reshape(-1, WIDTH), features))
        estimates.append(found.value)
    assert contained >= 42
    assert abs(np.mean(estimates) - truth) < 0.4 * (np.mean(plain) - truth)


def test_ratio_uses_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    base = Estimate(2.0, 2 + 0.5 * rng.standard_normal(2000))
    tripled = Estimate(6.0, 3 * base.draws)
    interval = tripled.over(base).interval()
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((3, 3, 3))


def test_ratio_to_nothing_is_unknown() -> None:
    for above in (np.ones(10), np.zeros(10)):
        interval = Estimate(1.0, above).over(Estimate(0.0, np.zeros(10))).interval()
        assert interval.as_json() == {"estimate": None, "low": None, "high": None}


def test_ratio_to_what_may_be_nothing_has_no_upper_bound() -> None:
    below = np.linspace(-0.04, 1, 1000)  # 3.8% of the draws are not above 0
    interval = Estimate(1.0, np.ones(1000)).over(Estimate(0.5, below)).interval()
    assert (interval.estimate, interval.high) == (2, np.inf)
    assert interval.low == pytest.approx(1, rel=0.05)
    assert interval.as_json()["high"] is None


def test_wilson_against_a_published_example() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe, Statistics in Medicine 17, 1998, table I)."""
    interval = wilson(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 10).low == 0
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_adherence_counts_what_is_stated_alone() -> None:
    attributes = len(ATTRIBUTES)
    wanted = np.zeros((4, attributes), np.int64)
    found, stated = wanted.copy(), np.zeros((4, attributes), bool)
    stated[:, 0] = True
    stated[:2, 1] = True
    found[3, 0] = 1  # wrong, and stated
    found[:, 2] = 1  # wrong, and never stated
    found[2:, 1] = 1  # wrong where it is not stated
    shares = adherence(found, wanted, stated, resamples(4, 500))
    names = list(ATTRIBUTES)
    assert set(shares) == {OVERALL, names[0], names[1]}
    assert shares[names[0]].value == 0.75
    assert shares[names[1]].value == 1
    assert shares[OVERALL].value == pytest.approx(5 / 6)


def test_adherence_intervals_contain_the_truth() -> None:
    contained = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        wanted = np.zeros((150, len(ATTRIBUTES)), np.int64)
        found = (rng.random(wanted.shape) < 0.2).astype(np.int64)
        stated = rng.random(wanted.shape) < 0.5
        overall = adherence(found, wanted, stated, resamples(150, 300, seed))[OVERALL]
        interval = overall.interval()
        contained += interval.low <= 0.8 <= interval.high
    assert contained >= 42


def test_pictures_alone_and_side_by_side() -> None:
    """A classifier that leans to one answer is right of one of each two, yet may compare well."""
    leaning = np.tile([1.0, 2.0], (40, 1))
    draws = resamples(40, 200)
    alone, together = (measure(leaning, draws).interval() for measure in (singly, side_by_side))
    assert (alone.low, alone.estimate, alone.high) == (0.5, 0.5, 0.5)
    assert together.estimate == 1
    assert singly(np.array([[-1.0, 1.0], [-1.0, -1.0]]), resamples(2, 9)).value == 0.75
    assert side_by_side(np.array([[3.0, 3.0], [2.0, 1.0]]), resamples(2, 9)).value == 0.25


def test_folds_part_the_prompts_evenly() -> None:
    membership = folds(52)
    assert np.bincount(membership).tolist() == [11, 11, 10, 10, 10]
    assert len(np.bincount(membership)) == FOLDS
    assert (membership != folds(52, repeat=1)).any()


def test_repeats_are_averaged_for_each_prompt() -> None:
    """Of two prompts the first is told right every time, the second half of the time."""
    right, wrong = [-1.0, 1.0], [1.0, -1.0]
    logits = np.array([[right, right], [right, wrong]])
    for measure in (singly, side_by_side):
        found = measure(logits, np.array([[0, 0]] * 10 + [[1, 1]] * 200))
        assert found.value == 0.75
        assert set(found.draws[:10]) == {1.0}
        assert found.draws[10:].mean() == pytest.approx(0.5, abs=0.1)


def test_intervals_are_over_prompts_and_ways_of_parting_them() -> None:
    """Answers whose chance is the way's alone: the variance of the mean of all ways is drawn."""
    rng = np.random.default_rng(0)
    logits = np.where(rng.random((4, 1, 1)) < 0.5, 1.0, -1.0) * np.array([-1.0, 1.0])
    logits = np.repeat(logits, 30, axis=1)
    logits[0], logits[1] = [-1.0, 1.0], [1.0, -1.0]
    found = side_by_side(logits, resamples(30, 4000))
    share = np.sign(logits[:, 0, 1] - logits[:, 0, 0]) / 2 + 0.5
    assert found.draws.var() == pytest.approx(share.var(ddof=1) / 4, rel=0.1)
