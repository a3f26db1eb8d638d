"""Who may wait, in which place, and for how long."""

import asyncio
import time

import pytest

from leyden_server.errors import OverloadedError
from leyden_server.generations.line import Admission, Ticket


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run_loop(ticket: Ticket, clock: Clock, seconds: float, index: int = 0) -> None:
    ticket.started(index)
    clock.now += seconds
    ticket.finished(index)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_as_many_may_wait_as_the_bound_says() -> None:
    admission = Admission(4, 100)
    first = admission.admit(3)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(2)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.limits == {"max_waiting_images": "4"}
    assert "3 of at most 4" in str(caught.value)
    assert caught.value.retry_after_s == 1.0
    admission.admit(1)
    with pytest.raises(OverloadedError):
        admission.admit(1)
    first.started(0)  # a running image waits no longer
    admission.admit(1)
    with pytest.raises(OverloadedError):
        admission.admit(1)


def test_what_is_accepted_and_not_yet_sent_is_bounded_too() -> None:
    admission = Admission(4, 6)
    done = admission.admit(4)
    for index in range(4):
        done.started(index)
        done.finished(index)  # denoised, but neither decoded nor sent
    admission.admit(2)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(1)
    assert caught.value.limits == {"max_open_images": "6"}
    assert caught.value.retry_after_s == 1.0  # the denoiser's line, which is empty, tells nothing
    done.leave()
    admission.admit(1)


def test_who_would_not_even_start_in_time_is_refused_at_once(clock: Clock) -> None:
    admission = Admission(10, 100)
    first = admission.admit(4)
    admission.admit(1, timeout_s=0.1)  # nothing is known yet: it may be in time
    run_loop(first, clock, 2.0)
    first.started(1)  # 2 s each, one by one, and 3 wait
    with pytest.raises(OverloadedError) as caught:
        admission.admit(1, timeout_s=7.9)
    assert caught.value.reason == "DEADLINE_CANNOT_BE_MET"
    assert caught.value.retry_after_s == 8.0
    admission.admit(1, timeout_s=8.1)


def test_a_batch_with_room_keeps_nobody_waiting(clock: Clock) -> None:
    admission = Admission(20, 100)
    admission.row_cap = 4
    first = admission.admit(3)
    run_loop(first, clock, 2.0)
    first.started(1)
    first.started(2)
    second, third = admission.admit(2), admission.admit(1)
    assert second.place() == (0, 0.0)
    assert third.place() == (2, 1.0)  # two places are free, two images are ahead for them


def test_a_guided_image_takes_the_room_of_two(clock: Clock) -> None:
    admission = Admission(20, 100)
    admission.row_cap = 4
    first = admission.admit(3, rows_per_image=2)
    run_loop(first, clock, 2.0)
    first.started(1)
    first.started(2)
    plain, guided = admission.admit(1), admission.admit(1, rows_per_image=2)
    assert plain.place() == (0, 0.5)  # four rows run for 2 s each: one leaves every half second
    assert guided.place() == (1, 1.5)
    clock.now += 2.0
    first.finished(2)
    assert plain.place() == (0, 0.0)
    assert guided.place() == (1, 1.0)  # of the two rows that are free the plain image has one


def test_a_guided_image_alone_starts_at_once_whatever_the_cap() -> None:
    assert Admission(20, 100).admit(1, rows_per_image=2).place() == (0, 0.0)


def test_stages_that_rest_have_to_start_before_the_line_moves(clock: Clock) -> None:
    left_s: list[float | None] = [None]
    admission = Admission(10, 100, lambda: left_s[0])
    admission.row_cap = 2
    first = admission.admit(1, timeout_s=0.1)  # nothing is known yet: it may be in time
    assert first.place() == (0, None)
    left_s[0] = 8.0
    assert first.place() == (0, 8.0)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(1, timeout_s=7.9)
    assert caught.value.reason == "DEADLINE_CANNOT_BE_MET"
    assert caught.value.retry_after_s == 8.0
    run_loop(first, clock, 2.0)
    assert (
        admission.expected_wait_s(rows_ahead=3, rows=1) == 8.0 + 2 * 2.0
    )  # the third that has no room
    left_s[0] = None
    assert admission.expected_wait_s(rows_ahead=3, rows=1) is None


def test_leaving_gives_back_every_place_once() -> None:
    admission = Admission(2, 100)
    ticket = admission.admit(2)
    ticket.leave()
    ticket.leave()
    other = admission.admit(2)
    with pytest.raises(OverloadedError):
        admission.admit(1)
    assert other.place() == (0, 0.0)


def test_a_refused_request_takes_no_place() -> None:
    admission = Admission(2, 100)
    with pytest.raises(OverloadedError):
        admission.admit(3)
    ticket = admission.admit(2)
    assert ticket.place()[0] == 0


def test_the_images_of_earlier_requests_are_ahead() -> None:
    admission = Admission(10, 100)
    first, second, third = admission.admit(2), admission.admit(3), admission.admit(1)
    assert [ticket.place()[0] for ticket in (first, second, third)] == [0, 2, 5]
    first.started(0)
    assert [ticket.place()[0] for ticket in (first, second, third)] == [0, 1, 4]
    assert (first.waiting, first.running) == (1, 1)
    second.leave()
    assert third.place()[0] == 1
    first.started(1)
    assert third.place()[0] == 0


def test_a_restarted_image_waits_again() -> None:
    admission = Admission(10, 100)
    first, second = admission.admit(1), admission.admit(1)
    first.started(0)
    assert second.place()[0] == 0
    first.restarted(0)
    assert (first.waiting, first.running) == (1, 0)
    assert second.place()[0] == 1
    first.restarted(0)  # it died again before it started
    assert first.waiting == 1


def test_the_expected_wait_follows_the_pace(clock: Clock) -> None:
    admission = Admission(10, 100)
    first = admission.admit(3)
    assert first.place() == (0, 0.0)  # nothing runs and nobody is ahead
    second = admission.admit(1)
    assert second.place() == (3, None)  # nothing is known yet
    run_loop(first, clock, 2.0)
    first.started(1)
    # One more waits ahead; one of 2 s each runs, so a place comes every 2 s.
    assert second.place() == (1, 4.0)
    first.started(2)
    assert second.place() == (0, 1.0)  # two run side by side
    with pytest.raises(OverloadedError) as caught:
        admission.admit(10)
    assert caught.value.retry_after_s == 2.0


def test_the_pace_follows_recent_loops(clock: Clock) -> None:
    admission = Admission(10, 100)
    ticket = admission.admit(3)
    run_loop(ticket, clock, 10.0, 0)
    run_loop(ticket, clock, 5.0, 1)
    ticket.started(2)
    assert ticket.place()[1] == pytest.approx(9.0)


def test_a_retry_hint_is_never_zero(clock: Clock) -> None:
    admission = Admission(1, 100)
    ticket = admission.admit(1)
    run_loop(ticket, clock, 0.001)
    admission.admit(1)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(1)
    assert caught.value.retry_after_s == 0.1


async def test_places_are_told_when_they_change_until_none_is_ahead() -> None:
    admission = Admission(10, 100)
    first, second, third = admission.admit(1), admission.admit(2), admission.admit(1)
    places = third.places()
    assert (await anext(places))[0] == 3
    waiting = asyncio.ensure_future(anext(places))
    await asyncio.sleep(0)
    third.wake()  # nothing has moved, so nothing is said
    await asyncio.sleep(0)
    assert not waiting.done()
    first.started(0)
    assert (await waiting)[0] == 2
    second.started(0)
    assert (await anext(places))[0] == 1
    second.leave()
    assert (await anext(places))[0] == 0
    assert [place async for place in places] == []


async def test_the_first_in_line_is_told_so_at_once() -> None:
    ticket = Admission(10, 100).admit(1)
    assert [place async for place in ticket.places()] == [(0, 0.0)]
