"""How much of the last ten seconds something has run."""

import pytest

from leyden_server.stages.busy import WINDOW_S, BusyClock


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_is_the_part_of_the_window_in_which_something_ran() -> None:
    clock = Clock()
    busy = BusyClock(clock)
    assert busy.share() == 0
    clock.now_s += 1
    with busy.running():
        clock.now_s += 3
        # In the first seconds, the part of those.
        assert busy.share() == pytest.approx(3 / 4)
    clock.now_s += 6
    assert busy.share() == pytest.approx(0.3)
    clock.now_s += WINDOW_S - 8
    # Of the run from 101 to 104 two seconds are left in the window from 102 on.
    assert busy.share() == pytest.approx(0.2)
    clock.now_s += 2
    assert busy.share() == 0


def test_a_run_that_has_not_ended_counts_and_one_that_fails_too() -> None:
    clock = Clock()
    busy = BusyClock(clock)
    with pytest.raises(ValueError, match="no"), busy.running():
        _fail_at_last(clock, busy)
    clock.now_s += 5
    assert busy.share() == pytest.approx(0.5)


def _fail_at_last(clock: Clock, busy: BusyClock) -> None:
    clock.now_s += 20
    assert busy.share() == 1
    raise ValueError("no")
