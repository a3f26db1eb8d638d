"""How many of the rows that are there pay, by the rule and under loads in virtual time."""

import itertools

import pytest
from support.sizing import SIZE_PX, costs_with, fixed

from leyden_server.accelerator.row_caps import RowCaps, smallest_good_row_count
from leyden_server.accelerator.row_times import RowTimes
from leyden_server.sizing.arrivals import evenly
from leyden_server.sizing.costs import RunCosts
from leyden_server.sizing.images import Kind
from leyden_server.sizing.outcome import Outcome
from leyden_server.sizing.simulation import closed_loop, simulate

H100_1024 = RowTimes.of({1: 0.0217, 2: 0.0351, 4: 0.0662, 8: 0.1319}, padded=True)
H100_512 = RowTimes.of({1: 0.0112, 2: 0.0144, 4: 0.0203, 8: 0.0328}, padded=True)
CPU_128 = RowTimes.of({1: 0.0355, 2: 0.0393, 4: 0.0482, 8: 0.0676}, padded=False)
CPU_256 = RowTimes.of({1: 0.0567, 2: 0.077, 4: 0.104, 8: 0.221}, padded=False)
CPU_512 = RowTimes.of({1: 0.110, 2: 0.197, 4: 0.387, 8: 0.789}, padded=False)
MEASURED = {
    "H100, 1024 px": H100_1024,
    "H100, 512 px": H100_512,
    "CPU, 128 px": CPU_128,
    "CPU, 256 px": CPU_256,
    "CPU, 512 px": CPU_512,
}
FOUR_STEPS = Kind(steps=4, size_px=SIZE_PX)


def test_a_padded_run_takes_what_the_next_measured_one_takes() -> None:
    assert RowTimes.of({1: 1.0, 2: 3.0, 4: 4.0}, padded=True).seconds == (1.0, 3.0, 4.0, 4.0)


def test_a_run_that_is_not_padded_lies_between_its_neighbours() -> None:
    times = RowTimes.of({1: 1.0, 2: 3.0, 6: 5.0}, padded=False)

    assert times.seconds == (1.0, 3.0, 3.5, 4.0, 4.5, 5.0)


@pytest.mark.parametrize(
    ("times", "paying"),
    [
        # By the rows that are there, from 1 to 8. Three rows would be padded to four.
        (H100_1024, [1, 2, 2, 4, 4, 4, 4, 4]),
        # Seven of eight rows are worth their padding, five are not.
        (H100_512, [1, 2, 3, 4, 4, 4, 7, 8]),
        (CPU_128, [1, 2, 3, 4, 5, 6, 7, 8]),
        (CPU_256, [1, 2, 3, 4, 4, 4, 4, 4]),
        (CPU_512, [1, 2, 2, 2, 2, 2, 2, 2]),
        (RowTimes.flat(4), [1, 2, 3, 4, 4, 4, 4, 4]),
        (RowTimes.of({1: 0.1, 2: 0.2, 4: 0.4}, padded=False), [1] * 8),  # nothing is gained
        (RowTimes.of({1: 0.1, 2: 0.3}, padded=False), [1] * 8),  # something is lost
        (RowTimes.of({1: 0.1}, padded=True), [1] * 8),
    ],
)
def test_the_rows_that_pay_of_those_that_are_there(times: RowTimes, paying: list[int]) -> None:
    assert [times.paying(there) for there in range(1, 9)] == paying


def test_a_long_line_makes_a_small_gain_worth_a_longer_run() -> None:
    """Two rows gain 2.6% and take twice as long: 0.1 of that is what the line has to gain."""
    times = RowTimes.of({1: 0.1, 2: 0.195}, padded=False)

    assert [times.paying(there) for there in (2, 3, 4, 100)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("times", "cap"),
    [(H100_1024, 4), (H100_512, 8), (CPU_128, 8), (CPU_256, 4), (CPU_512, 4)],
)
def test_the_cap_is_what_pays_where_the_replica_is_full(times: RowTimes, cap: int) -> None:
    assert times.cap == times.paying(32) == cap


def test_a_limit_leaves_what_pays_below_it() -> None:
    caps = RowCaps()
    caps.set_times(64 * 64, H100_1024)
    caps.limit(64 * 64, 3)

    assert [caps.paying(64 * 64, there) for there in (1, 2, 3, 8)] == [1, 2, 2, 2]
    assert caps.as_dict() == {64 * 64: 2}


def test_a_size_that_was_not_measured_goes_by_the_nearest_ones_times() -> None:
    caps = RowCaps()
    caps.set_times(128 * 128, H100_1024)

    assert [caps.paying(96 * 96, there) for there in (3, 8)] == [2, 4]
    # Twice the pixels of the cap's four rows: two take as much memory.
    assert [caps.paying(128 * 256, there) for there in (1, 8)] == [1, 2]


def capacity_per_s(times: RowTimes) -> float:
    best = max(rows / seconds for rows, seconds in enumerate(times.seconds, 1))
    return best / FOUR_STEPS.steps


def under_load(times: RowTimes, load: float) -> Outcome:
    costs = costs_with(dict(enumerate(times.seconds, 1)))
    arrivals = evenly(load * capacity_per_s(times), 1200 / capacity_per_s(times))
    return simulate(fixed(), costs, (FOUR_STEPS,), arrivals, name="", seed=3)


def with_a_fixed_cap(monkeypatch: pytest.MonkeyPatch, times: RowTimes) -> None:
    """Let the simulated denoiser have the fewest rows within 5% of the best rate, always."""
    powers = {n: times.seconds[n - 1] for n in (1, 2, 4, 8)}
    fixed_cap = RowTimes.flat(smallest_good_row_count(powers))
    monkeypatch.setattr(RunCosts, "row_times", lambda _self, _most: fixed_cap)


@pytest.mark.parametrize("load", [0.7, 0.9])
@pytest.mark.parametrize("table", MEASURED)
def test_nobody_waits_longer_than_with_a_fixed_cap(
    monkeypatch: pytest.MonkeyPatch, table: str, load: float
) -> None:
    by_times = under_load(MEASURED[table], load)
    with_a_fixed_cap(monkeypatch, MEASURED[table])
    by_cap = under_load(MEASURED[table], load)

    assert by_times.done == by_cap.done > 750
    for share in (0.5, 0.95):
        assert by_times.latency_s(share) <= 1.02 * by_cap.latency_s(share)


@pytest.mark.parametrize(
    ("table", "load", "share", "at_most"),
    [
        ("H100, 1024 px", 0.5, 0.95, 0.93),
        ("H100, 1024 px", 0.7, 0.5, 0.93),
        ("H100, 512 px", 0.5, 0.95, 0.95),
        ("CPU, 512 px", 0.97, 0.95, 0.93),
    ],
)
def test_it_is_sooner_where_padding_or_a_long_line_counts(
    monkeypatch: pytest.MonkeyPatch, table: str, load: float, share: float, at_most: float
) -> None:
    by_times = under_load(MEASURED[table], load)
    with_a_fixed_cap(monkeypatch, MEASURED[table])
    by_cap = under_load(MEASURED[table], load)

    assert by_times.latency_s(share) <= at_most * by_cap.latency_s(share)


@pytest.mark.parametrize("table", MEASURED)
def test_the_capacity_is_that_of_the_best_rate_but_three_percent(table: str) -> None:
    times = MEASURED[table]
    costs = costs_with(dict(enumerate(times.seconds, 1)))
    outcome = closed_loop(fixed(), costs, FOUR_STEPS, clients=32, requests=960, seed=0)

    assert outcome.done / outcome.length_s >= 0.97 * capacity_per_s(times)


def test_a_line_of_images_is_done_soonest_in_the_mean_by_batches_of_equal_size() -> None:
    """The first part of the formula and a busy period, against all ways of so many runs."""
    times, there = CPU_256, 8

    def mean_end_s(batches: tuple[int, ...]) -> float:
        ends = itertools.accumulate(times.seconds[rows - 1] for rows in batches)
        return sum(rows * end for rows, end in zip(batches, ends, strict=True)) / there

    ways = [
        way
        for runs in range(1, there + 1)
        for way in itertools.product(range(1, 9), repeat=runs)
        if sum(way) == there
    ]
    assert min(ways, key=mean_end_s) == (4, 4)
    assert times.paying(there) == 4
