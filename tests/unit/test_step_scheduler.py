"""The batching policy, with images that are names."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from leyden_server.denoiser.step_scheduler import BatchKey, StepScheduler
from leyden_server.service_order import PATIENCE_S, ServiceOrder

SQUARE = BatchKey(latent_shape=(4, 16, 16), dtype="float32", conditioning=(77, 2048, 1280))
WIDE = BatchKey(latent_shape=(4, 16, 24), dtype="float32", conditioning=(77, 2048, 1280))


@dataclass(eq=False)
class Image:
    """`due_s` is its deadline; without one it has waited since 0."""

    name: str
    due_s: float
    batch_key: BatchKey = SQUARE
    rows: int = 1
    steps_left: int = 4
    priority: int = 5
    arrival_s: float = 0.0

    @property
    def order(self) -> ServiceOrder:
        return ServiceOrder(self.priority, self.arrival_s, self.due_s)


def scheduler_of(*images: Image, cap: int = 4) -> StepScheduler[Image]:
    scheduler: StepScheduler[Image] = StepScheduler(lambda key, there: cap)
    for image in images:
        scheduler.add(image)
    return scheduler


def counts(scheduler: StepScheduler[Image]) -> tuple[int, int]:
    """Return how many wait and how many run."""
    return len(scheduler.waiting), len(scheduler.running)


def names(images: list[Image]) -> list[str]:
    return [image.name for image in images]


def test_nothing_to_do_is_an_empty_batch() -> None:
    assert scheduler_of().schedule(0.0) == ([], [])


def test_the_most_urgent_come_first_up_to_the_cap() -> None:
    images = [Image(str(due_s), due_s) for due_s in (5, 1, 4, 2, 3)]
    batch, admitted = scheduler_of(*images, cap=3).schedule(0.0)

    assert names(batch) == ["1", "2", "3"]
    assert admitted == batch


@pytest.mark.parametrize(
    "other",
    [
        WIDE,
        BatchKey((4, 16, 16), "bfloat16", (77, 2048, 1280)),
        BatchKey((4, 16, 16), "float32", (77, 768, 1280)),
    ],
    ids=["shape", "dtype", "conditioning"],
)
def test_only_equal_keys_share_a_batch(other: BatchKey) -> None:
    scheduler = scheduler_of(Image("a", 1), Image("other", 2, other), Image("b", 3))

    assert names(scheduler.schedule(0.0)[0]) == ["a", "b"]


def test_the_cap_is_asked_for_the_leaders_key() -> None:
    scheduler: StepScheduler[Image] = StepScheduler(lambda key, there: {SQUARE: 1, WIDE: 2}[key])
    for image in (Image("w1", 1, WIDE), Image("w2", 2, WIDE), Image("w3", 3, WIDE)):
        scheduler.add(image)
    assert names(scheduler.schedule(0.0)[0]) == ["w1", "w2"]
    scheduler.add(Image("s1", 0))
    scheduler.add(Image("s2", 0.5))
    assert names(scheduler.schedule(0.0)[0]) == ["s1"]


@pytest.mark.parametrize(
    ("cap", "expected"),
    [(1, ["a"]), (2, ["a", "c"]), (3, ["a", "b"]), (4, ["a", "b", "c"]), (5, ["a", "b", "c"])],
)
def test_two_rows_of_one_image_are_never_split(cap: int, expected: list[str]) -> None:
    images = Image("a", 1), Image("b", 2, rows=2), Image("c", 3), Image("d", 4, rows=2)

    assert names(scheduler_of(*images, cap=cap).schedule(0.0)[0]) == expected


def test_an_image_larger_than_the_cap_runs_alone() -> None:
    scheduler = scheduler_of(Image("two rows", 1, rows=2), Image("one row", 2), cap=1)

    assert names(scheduler.schedule(0.0)[0]) == ["two rows"]


def test_a_newcomer_joins_and_is_admitted_once() -> None:
    first, second = Image("first", 1), Image("second", 2)
    scheduler = scheduler_of(first)
    assert counts(scheduler) == (1, 0)
    assert scheduler.schedule(0.0) == ([first], [first])
    assert counts(scheduler) == (0, 1)
    scheduler.add(second)
    assert counts(scheduler) == (1, 1)
    assert scheduler.schedule(0.0) == ([first, second], [second])
    assert scheduler.schedule(0.0) == ([first, second], [])
    assert counts(scheduler) == (0, 2)
    scheduler.remove(first)
    assert scheduler.schedule(0.0) == ([second], [])
    scheduler.remove(second)
    assert counts(scheduler) == (0, 0)


def test_a_more_urgent_newcomer_takes_the_lead_from_a_running_image() -> None:
    calm, urgent = Image("calm", 60), Image("urgent", 5, WIDE)
    scheduler = scheduler_of(calm)
    scheduler.schedule(0.0)
    scheduler.add(urgent)

    assert scheduler.schedule(0.0) == ([urgent], [urgent])
    assert counts(scheduler) == (0, 2)
    assert set(scheduler.images()) == {calm, urgent}


def test_a_waiting_image_can_leave() -> None:
    stays, leaves = Image("stays", 1), Image("leaves", 2, WIDE)
    scheduler = scheduler_of(stays, leaves)
    scheduler.schedule(0.0)
    scheduler.remove(leaves)

    assert list(scheduler.images()) == [stays]
    assert counts(scheduler) == (0, 1)


def test_the_priority_leads_whatever_the_deadlines_are() -> None:
    late, first = Image("late", 1), Image("first", 50, priority=4)

    assert names(scheduler_of(late, first, cap=1).schedule(0.0)[0]) == ["first"]


def test_who_has_waited_long_leads_those_of_a_higher_priority() -> None:
    waited, came = Image("waited", 1e9), Image("came", 1e9, priority=4, arrival_s=PATIENCE_S)
    scheduler = scheduler_of(waited, came, cap=1)

    assert names(scheduler.schedule(PATIENCE_S - 1)[0]) == ["came"]
    assert names(scheduler.schedule(PATIENCE_S)[0]) == ["waited"]


@pytest.mark.parametrize("due_s", [1e9, 25.0])
def test_a_rare_shape_is_not_starved_by_urgent_newcomers(due_s: float) -> None:
    """Twice as much comes as can be served, and all of it is more urgent than the rare image."""
    rare = Image("rare", due_s, batch_key=WIDE)
    scheduler = scheduler_of(rare, cap=2)
    served: Counter[str] = Counter()
    now = 0
    while rare.steps_left and now < 500:
        for number in range(2):
            scheduler.add(Image(f"common {now}.{number}", due_s=now + 5, arrival_s=now))
        for image in list(scheduler.images()):
            if image.due_s <= now and image is not rare:
                scheduler.remove(image)  # as the Gateway makes those leave whose call has ended
        batch, _ = scheduler.schedule(now)
        for image in batch:
            served[(image.batch_key is WIDE and "rare") or "common"] += 1
            image.steps_left -= 1
            if image.steps_left == 0:
                scheduler.remove(image)
        now += 1

    assert rare.steps_left == 0
    assert now <= min(due_s, PATIENCE_S) + 4
    assert served["common"] > served["rare"]


def test_all_finish_in_a_random_mix_and_no_batch_breaks_a_rule() -> None:
    rng = random.Random(7)
    cap = 4
    scheduler = scheduler_of(cap=cap)
    arriving = [
        Image(
            str(i),
            i + rng.uniform(5, 90),
            rng.choice([SQUARE, WIDE]),
            rng.choice([1, 2]),
            priority=rng.choice([1, 5, 9]),
            arrival_s=i,
        )
        for i in range(300)
    ]
    admitted_once: Counter[str] = Counter()
    done = 0
    for now in range(2000):
        if arriving:
            scheduler.add(arriving.pop(0))
        batch, admitted = scheduler.schedule(now)
        admitted_once.update(names(admitted))
        assert len({image.batch_key for image in batch}) <= 1
        assert sum(image.rows for image in batch) <= cap
        left_out = set(scheduler.images()) - set(batch)
        room = cap - sum(image.rows for image in batch)
        if batch:
            assert all(batch[0].order.key(now) <= image.order.key(now) for image in left_out)
            same_key = [image for image in left_out if image.batch_key == batch[0].batch_key]
            assert not any(image.rows <= room for image in same_key)
        for image in batch:
            image.steps_left -= 1
            if image.steps_left == 0:
                scheduler.remove(image)
                done += 1
    assert done == 300
    assert admitted_once.total() == len(admitted_once) == 300
