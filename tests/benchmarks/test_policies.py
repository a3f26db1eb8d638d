"""The policies that step batching is compared with, without an engine."""

from dataclasses import dataclass, field
from typing import cast

import pytest
from benchmarks.policies import OneAtATime, WholeRequestBatching

from leyden_server.denoiser.request_state import RequestState
from leyden_server.denoiser.step_scheduler import BatchKey, StepScheduler
from leyden_server.sampling import Sampling
from leyden_server.service_order import DEFAULT_PRIORITY, ServiceOrder


def key(side: int = 8) -> BatchKey:
    return BatchKey((4, side, side), "float32", (77, 8, 8))


@dataclass(eq=False)
class Image:
    """What the policies look at of an image."""

    name: str
    due_s: float
    num_inference_steps: int = 4
    rows: int = 1
    batch_key: BatchKey = field(default_factory=key)

    @property
    def order(self) -> ServiceOrder:
        return ServiceOrder(DEFAULT_PRIORITY, 0.0, self.due_s)

    @property
    def sampling(self) -> Sampling:
        return Sampling(0, 64, 64, self.num_inference_steps, 0.0, "euler")


def add(scheduler: StepScheduler[RequestState], *images: Image) -> None:
    for image in images:
        scheduler.add(cast("RequestState", image))


def names(images: list[RequestState]) -> list[str]:
    return [cast("Image", image).name for image in images]


def run_steps(scheduler: StepScheduler[RequestState], steps: int) -> list[list[str]]:
    """Run so many steps as the engine does; return who shared each."""
    left: dict[int, int] = {}
    shared = []
    for _ in range(steps):
        batch, admitted = scheduler.schedule(0.0)
        assert {id(image) for image in admitted} == {id(i) for i in batch} - set(left)
        for image in batch:
            left[id(image)] = left.get(id(image), image.sampling.num_inference_steps) - 1
            if left[id(image)] == 0:
                scheduler.remove(image)
        shared.append(names(batch))
    return shared


def test_one_at_a_time_ends_what_it_began() -> None:
    scheduler = OneAtATime(lambda *_: 8)
    add(scheduler, Image("late", 2.0), Image("early", 1.0))
    batch, admitted = scheduler.schedule(0.0)
    assert names(batch) == names(admitted) == ["early"]
    add(scheduler, Image("urgent", 0.0))
    batch, admitted = scheduler.schedule(0.0)
    assert (names(batch), admitted) == (["early"], [])
    assert (len(scheduler.running), len(scheduler.waiting)) == (1, 2)


def test_one_at_a_time_takes_the_most_urgent_next() -> None:
    scheduler = OneAtATime(lambda *_: 8)
    add(scheduler, Image("c", 3.0, 1), Image("a", 1.0, 2), Image("b", 2.0, 1))
    assert run_steps(scheduler, 5) == [["a"], ["a"], ["b"], ["c"], []]


def test_whole_requests_wait_for_the_batch_that_runs() -> None:
    scheduler = WholeRequestBatching(lambda *_: 8)
    add(scheduler, Image("a", 1.0, 2), Image("b", 2.0, 2))
    batch, admitted = scheduler.schedule(0.0)
    assert names(batch) == names(admitted) == ["a", "b"]
    add(scheduler, Image("c", 0.0, 2))
    batch, admitted = scheduler.schedule(0.0)
    assert (names(batch), admitted) == (["a", "b"], [])
    for image in batch:
        scheduler.remove(image)
    assert names(scheduler.schedule(0.0)[0]) == ["c"]


def test_whole_requests_share_only_with_their_like() -> None:
    scheduler = WholeRequestBatching(lambda *_: 8)
    add(scheduler, Image("a", 1.0, 1), Image("longer", 2.0, 8), Image("b", 3.0, 1))
    add(scheduler, Image("larger", 4.0, 1, batch_key=key(16)), Image("c", 5.0, 1))
    assert run_steps(scheduler, 2) == [["a", "b", "c"], ["longer"]]


@pytest.mark.parametrize(("cap", "first"), [(1, ["a"]), (2, ["a", "c"]), (3, ["a", "guided"])])
def test_whole_requests_fill_up_to_the_cap(cap: int, first: list[str]) -> None:
    scheduler = WholeRequestBatching(lambda *_: cap)
    add(scheduler, Image("c", 3.0, 1), Image("guided", 2.0, 1, rows=2), Image("a", 1.0, 1))
    assert run_steps(scheduler, 1) == [first]
