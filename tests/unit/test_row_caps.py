"""How many rows pay, by the rule and by measuring."""

import pytest

from leyden_server.accelerator.row_caps import RowCaps, measure_row_cap, smallest_good_row_count

SLOW_LARGE = {1: 0.110, 2: 0.197, 4: 0.387, 8: 0.789}
FAST_SMALL = {1: 0.0355, 2: 0.0393, 4: 0.0482, 8: 0.0676}


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        (FAST_SMALL, 8),
        (SLOW_LARGE, 2),
        ({1: 0.1, 2: 0.2, 4: 0.4, 8: 0.8}, 1),  # a gain of exactly 1
        ({1: 0.1, 2: 0.3}, 1),  # batching loses
        ({1: 0.1, 2: 0.195}, 1),  # 2.6% better is not better
        ({1: 0.1, 2: 0.185}, 2),  # 8% is
        ({1: 0.1, 2: 0.1, 4: 0.1, 8: 0.2}, 4),  # 8 rows are as good and leave later
        ({1: 0.1}, 1),
    ],
)
def test_the_fewest_rows_within_five_percent_of_the_best(
    seconds: dict[int, float], rows: int
) -> None:
    assert smallest_good_row_count(seconds) == rows


class Machine:
    """Takes the seconds of a table; the first run at a size takes longer."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self._seconds = seconds
        self.runs: list[int] = []

    def run(self, rows: int) -> float:
        first = rows not in self.runs
        self.runs.append(rows)
        return self._seconds[rows] * (10 if first else 1)


def test_doubling_measures_up_to_the_maximum() -> None:
    machine = Machine(FAST_SMALL)

    assert measure_row_cap(machine.run, 8) == (8, FAST_SMALL)
    assert sorted(set(machine.runs)) == [1, 2, 4, 8]


def test_measuring_stops_where_rows_stop_paying() -> None:
    machine = Machine({rows: 0.1 * rows for rows in (1, 2, 4, 8, 16, 32)})
    cap, seconds = measure_row_cap(machine.run, 32)

    assert cap == 1
    assert sorted(seconds) == [1, 2, 4]
    assert 8 not in machine.runs


def test_one_bad_size_does_not_stop_it() -> None:
    """Twice the rows at the same rate may be followed by better ones."""
    table = {1: 0.1, 2: 0.2, 4: 0.25, 8: 0.5}
    cap, seconds = measure_row_cap(Machine(table).run, 8)

    assert cap == 4
    assert sorted(seconds) == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("max_rows", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])],
)
def test_a_maximum_that_is_no_power_of_two_is_measured_too(max_rows: int, sizes: list[int]) -> None:
    cap, seconds = measure_row_cap(lambda rows: 0.1, max_rows)

    assert sorted(seconds) == sizes
    assert cap == max_rows


def test_the_first_run_and_a_disturbed_one_do_not_count() -> None:
    times = iter([9.0, 0.02, 0.5, 0.01, 0.03, 0.02])
    cap, seconds = measure_row_cap(lambda rows: next(times), 1)

    assert (cap, seconds) == (1, {1: 0.02})


def test_slow_runs_are_timed_once() -> None:
    machine = Machine({1: 0.7})
    measure_row_cap(machine.run, 1)

    assert machine.runs == [1, 1]


def test_a_larger_size_takes_no_more_memory_than_was_measured() -> None:
    caps = RowCaps()
    caps.set(16 * 16, 8)

    assert caps.get(16 * 32) == 4
    assert caps.get(32 * 32) == 2
    assert caps.get(128 * 128) == 1


def test_rows_that_do_not_fit_do_not_pay() -> None:
    def run(rows: int) -> float:
        if rows > 2:
            raise MemoryError
        return 0.1

    assert measure_row_cap(run, 8)[0] == 2
    with pytest.raises(MemoryError):
        measure_row_cap(lambda rows: run(rows + 2), 8)


def test_a_size_that_was_not_measured_has_the_nearest_ones_cap() -> None:
    caps = RowCaps()
    caps.set(16 * 16, 8)
    caps.set(64 * 64, 2)

    assert caps.get(16 * 16) == caps.get(8 * 8) == 8
    assert caps.get(64 * 64) == caps.get(40 * 40) == 2
    assert caps.as_dict() == {256: 8, 4096: 2}
