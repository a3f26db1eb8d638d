"""Who may wait, in which place, for how long, and who is handed on: all by one order."""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial

import pytest
from support.patience import PATIENCE_S as TEST_PATIENCE_S

from leyden_server.denoiser.step_scheduler import BatchKey, StepScheduler
from leyden_server.errors import OverloadedError
from leyden_server.generations.line import LOAD_LIFE_S, Line, LineLimits, Place
from leyden_server.generations.pace import starts_s
from leyden_server.service_order import PATIENCE_S, ServiceOrder
from leyden_server.stages.contract import EngineLoad


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def a_line(most_waiting: int = 10, most_open: int = 100, **options: object) -> Line:
    return Line(LineLimits(most_waiting, most_open), **options)  # type: ignore[arg-type]


def admit(
    line: Line,
    images: int = 1,
    *,
    rows: int = 1,
    steps: int = 4,
    priority: int = 5,
    timeout_s: float | None = None,
) -> Place:
    now = time.monotonic()
    deadline_s = None if timeout_s is None else now + timeout_s
    return line.admit(
        ServiceOrder(priority, now, deadline_s),
        images=images,
        rows_per_image=rows,
        steps=steps,
        timeout_s=timeout_s,
    )


def run(place: Place, index: int = 0, *, steps: int = 4, step_s: float = 0.5) -> None:
    """Let one image run through all of its steps."""
    place.started(index)
    for step in range(steps):
        place.stepped(index, steps - step - 1, step_s)
    place.finished(index)


def refusal(line: Line, images: int = 1, **options: object) -> OverloadedError:
    with pytest.raises(OverloadedError) as caught:
        admit(line, images, **options)  # type: ignore[arg-type]
    return caught.value


def test_as_many_may_wait_as_the_bound_says() -> None:
    line = a_line(most_waiting=4)
    first = admit(line, 3)
    error = refusal(line, 2)
    assert error.reason == "QUEUE_FULL"
    assert error.limits == {"max_waiting_images": "4"}
    assert "3 of at most 4" in str(error)
    assert error.retry_after_s == 1.0
    admit(line)
    refusal(line)
    first.started(0)  # a running image waits no longer
    admit(line)
    refusal(line)


def test_what_is_accepted_and_not_yet_sent_is_bounded_too() -> None:
    line = a_line(most_waiting=4, most_open=6)
    done = admit(line, 4)
    for index in range(4):
        run(done, index)  # denoised, but neither decoded nor sent
    admit(line, 2)
    error = refusal(line)
    assert error.limits == {"max_open_images": "6"}
    assert error.retry_after_s == 1.0  # the denoiser's line, which is empty, tells nothing
    done.leave()
    admit(line)


def test_who_comes_back_when_told_finds_room(clock: Clock) -> None:
    line = a_line(most_waiting=2)
    running = admit(line)
    running.started(0)
    running.stepped(0, 3, 0.5)
    admit(line, 2)
    assert refusal(line).retry_after_s == 1.5  # the running image's three steps, then one starts
    assert refusal(line, 2).retry_after_s == 3.5  # that one's four too


def test_who_would_not_even_start_in_time_is_refused_at_once(clock: Clock) -> None:
    line = a_line()
    first = admit(line, 4, priority=1)
    admit(line, timeout_s=0.1).leave()  # nothing is known yet: it may be in time
    run(first)
    first.started(1)  # 2 s each, one by one, and 2 wait
    error = refusal(line, timeout_s=5.9)
    assert error.reason == "DEADLINE_CANNOT_BE_MET"
    assert error.retry_after_s == 6.0
    admit(line, timeout_s=6.1)


def test_a_short_deadline_goes_before_long_images_that_wait(clock: Clock) -> None:
    """The case that was refused: 50 s of deadline behind 56 images of 50 steps."""
    line = a_line(most_waiting=64)
    line.row_cap = 8
    long = [admit(line, 8, rows=2, steps=50) for _ in range(7)]
    for index in range(4):
        long[0].started(index)
        long[0].stepped(index, 49, 0.3)
    clock.now += 1
    urgent = admit(line, timeout_s=50)
    assert urgent.now() == (0, 0.0)
    assert long[1].now()[0] == 5, "it comes before those that wait"
    # And the engine goes by the same order: it is in the very next step.
    engine: StepScheduler[Row] = StepScheduler(lambda *_: 8)
    for place in long:
        for _ in place.images:
            engine.add(Row(place.order, rows=2))
    row = Row(urgent.order)
    engine.add(row)
    batch, _ = engine.schedule(clock.now)
    assert batch[0] is row


@dataclass(eq=False)
class Row:
    """What the step scheduler looks at of an image."""

    order: ServiceOrder
    rows: int = 1
    batch_key: BatchKey = field(default=BatchKey((4, 8, 8), "float32", (77, 80, 48)))
    steps_left: int = 4


async def test_nobody_starves_with_two_gateways(clock: Clock) -> None:
    """Two lines before one engine; newcomers of priority 1 keep coming at both."""
    lines = [a_line(64, share=lambda: 4, alone=False) for _ in range(2)]
    engine: StepScheduler[Row] = StepScheduler(lambda *_: 2)
    waiting: dict[asyncio.Future[None], Place] = {}
    in_engine: dict[Row, Place] = {}

    def come(line: Line, priority: int) -> Place:
        place = admit(line, priority=priority)
        waiting[asyncio.ensure_future(place.turn(0))] = place
        return place

    last = come(lines[0], priority=9)
    while not last.images[0].done:
        assert clock.now - 1000 < 9 * PATIENCE_S, "8 minutes raise it from 9 to 1"
        for line in lines:
            while line.waiting_images < 8:
                come(line, priority=1)
        await asyncio.sleep(0)
        for turn in [turn for turn in waiting if turn.done()]:
            row = Row(waiting[turn].order)
            in_engine[row] = waiting.pop(turn)
            engine.add(row)
        batch, admitted = engine.schedule(clock.now)
        for row in admitted:
            in_engine[row].started(0)
        clock.now += 1.0
        for row in batch:
            row.steps_left -= 1
            if row.steps_left == 0:
                engine.remove(row)
                in_engine[row].finished(0)
                in_engine.pop(row).leave()
        await asyncio.sleep(0)
    for turn in waiting:
        turn.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_priority_then_deadline_then_arrival_is_the_order(clock: Clock) -> None:
    line = a_line()
    running = admit(line)
    running.started(0)
    late = admit(line, priority=7)
    plain = admit(line)
    clock.now += 1
    soon = admit(line, timeout_s=20)
    first = admit(line, priority=1)
    positions = {
        name: place.now()[0]
        for name, place in {"first": first, "soon": soon, "plain": plain, "late": late}.items()
    }
    assert positions == {"first": 0, "soon": 1, "plain": 2, "late": 3}


def test_a_minute_of_waiting_raises_the_priority_by_one(clock: Clock) -> None:
    line = a_line()
    admit(line).started(0)
    old = admit(line, priority=6)
    clock.now += PATIENCE_S + 1
    admit(line, priority=5)
    assert old.now()[0] == 0


def test_a_batch_with_room_keeps_nobody_waiting(clock: Clock) -> None:
    line = a_line(most_waiting=20)
    line.row_cap = 4
    first = admit(line, 3)
    run(first)
    for index in (1, 2):
        first.started(index)
    second, third = admit(line, 2), admit(line)
    assert second.now() == (0, 0.0)
    assert third.now() == (2, 2.0)  # two places are free for two images ahead; four steps each


def test_a_guided_image_takes_the_room_of_two(clock: Clock) -> None:
    line = a_line()
    line.row_cap = 4
    first = admit(line, 3, rows=2)
    run(first)
    for index in (1, 2):
        first.started(index)
    first.images[1].steps_left = 1
    plain, guided = admit(line), admit(line, rows=2)
    assert plain.now() == (0, 0.5)  # four rows run, two of them for one more step
    assert guided.now() == (1, 2.0)  # of the two rows that then are free the plain one has one


def test_a_guided_image_alone_starts_at_once_whatever_the_cap() -> None:
    assert admit(a_line(), rows=2).now() == (0, 0.0)


def test_starts_follow_from_rows_and_steps() -> None:
    # (rows, steps left, runs already)
    assert starts_s([(1, 4, False)] * 3, 1) == [0, 4, 8]
    assert starts_s([(1, 4, True), (1, 2, True), (1, 4, False), (1, 1, False)], 2) == [0, 0, 2, 4]
    assert starts_s([(2, 4, False), (1, 4, False)], 1) == [0, 4]
    assert starts_s([(2, 3, True), (2, 5, False), (1, 1, False)], 3) == [0, 3, 3]


def test_more_replicas_are_more_room(clock: Clock) -> None:
    line = a_line(replicas=lambda: 2)
    first = admit(line, 2)
    run(first)
    first.started(1)
    assert admit(line).now() == (0, 0.0)


def test_stages_that_rest_have_to_start_before_the_line_moves(clock: Clock) -> None:
    left_s: list[float | None] = [None]
    line = a_line(expected_start_s=lambda: left_s[0])
    first = admit(line)
    assert first.now() == (0, None)
    left_s[0] = 8.0
    assert first.now() == (0, 8.0)
    error = refusal(line, timeout_s=7.9)
    assert error.reason == "DEADLINE_CANNOT_BE_MET"
    assert error.retry_after_s == 8.0


def test_leaving_gives_back_every_place_once() -> None:
    line = a_line(most_waiting=2)
    place = admit(line, 2)
    place.leave()
    place.leave()
    other = admit(line, 2)
    refusal(line)
    assert other.now() == (0, 0.0)


def test_a_refused_request_takes_no_place() -> None:
    line = a_line(most_waiting=2)
    refusal(line, 3)
    assert admit(line, 2).now()[0] == 0


def test_a_restarted_image_waits_again() -> None:
    line = a_line()
    first, second = admit(line), admit(line)
    first.started(0)
    assert second.now()[0] == 0
    first.restarted(0)
    assert first.waiting == 1
    assert second.now()[0] == 1


def test_a_retry_hint_is_never_zero(clock: Clock) -> None:
    line = a_line(most_waiting=1)
    place = admit(line)
    run(place, step_s=0.001)
    admit(line)
    assert refusal(line).retry_after_s == 0.1


async def test_positions_are_told_when_they_change() -> None:
    line = a_line()
    first, second, third = admit(line), admit(line, 2), admit(line)
    told: list[int] = []
    third.on_move = lambda position, _: told.append(position)
    assert third.now()[0] == 3
    line.moved()  # nothing has moved, so nothing is said
    await asyncio.sleep(0)
    assert told == []
    for change in (partial(first.started, 0), partial(second.started, 0), second.leave):
        change()
        await asyncio.sleep(0)
    assert told == [2, 1, 0]
    urgent = admit(line, priority=1)
    await asyncio.sleep(0)
    assert told == [2, 1, 0, 1], "who comes later and goes first is ahead too"
    urgent.leave()
    third.started(0)
    await asyncio.sleep(0)
    assert told == [2, 1, 0, 1], "who has started has no position"


async def test_the_denoiser_is_handed_its_share_in_order() -> None:
    line = a_line(most_waiting=20, share=lambda: 2)
    places = [admit(line, priority=priority) for priority in (5, 5, 5, 5)]
    turns = [asyncio.ensure_future(place.turn(0)) for place in places]
    await asyncio.sleep(0)
    assert [turn.done() for turn in turns] == [True, True, False, False]
    # One that comes before all that was handed on goes beside it: the engine steps it next.
    urgent = admit(line, priority=1)
    await asyncio.wait_for(urgent.turn(0), TEST_PATIENCE_S)
    places[0].finished(0)
    urgent.finished(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [turn.done() for turn in turns] == [True, True, True, False]
    turns[3].cancel()
    places[1].finished(0)
    await asyncio.gather(*turns, return_exceptions=True)
    assert places[3].images[0].turn is None


async def test_the_share_is_overdrawn_once_at_most() -> None:
    line = a_line(most_waiting=20, share=lambda: 1)
    turns = []
    for priority in (9, 8, 7):
        turns.append(asyncio.ensure_future(admit(line, priority=priority).turn(0)))
        await asyncio.sleep(0)
    assert [turn.done() for turn in turns] == [True, True, False]
    for turn in turns:
        turn.cancel()
    await asyncio.gather(*turns, return_exceptions=True)


def load(rows: int, steps: int, waiting: int, priority: int = 5) -> EngineLoad:
    def at(value: int) -> tuple[int, ...]:
        return tuple(value if i + 1 == priority else 0 for i in range(9))

    return EngineLoad(at(rows * steps), at(rows), at(waiting), step_s=0.5, row_cap=2)


async def test_what_other_gateways_have_in_the_engine_counts(clock: Clock) -> None:
    line = a_line(alone=False)
    line.row_cap = 2
    line.learn_step(0.5)
    line.note_load("denoiser#1", load(rows=2, steps=10, waiting=3))
    assert admit(line).now() == (3, 5.0)
    assert admit(line, priority=4).now() == (0, 0.0), "they are of priority 5"
    own = admit(line, priority=1)
    turn = asyncio.ensure_future(own.turn(0))
    await asyncio.sleep(0)
    own.started(0)
    line.note_load("denoiser#1", load(rows=1, steps=4, waiting=0, priority=1))
    assert admit(line, priority=1).now() == (0, 0.0), "what is our own is not counted twice"
    await turn


def test_what_a_dead_replica_had_is_forgotten(clock: Clock) -> None:
    line = a_line(alone=False)
    line.learn_step(0.5)
    line.note_load("denoiser#1", load(rows=2, steps=10, waiting=3))
    clock.now += LOAD_LIFE_S + 1
    assert admit(line).now() == (0, 0.0)
