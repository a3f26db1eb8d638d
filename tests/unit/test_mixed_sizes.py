"""Images that cannot share a step: each has its turn, and between two turns nobody waits."""

import asyncio
import random

import pytest
from support.stages import Gate, events_of, latents_of, sampled, steps_of
from unit.test_step_scheduler import Image

from leyden_server.accelerator.row_times import RowTimes
from leyden_server.denoiser.service import DenoiseService
from leyden_server.denoiser.step_scheduler import BatchKey, StepScheduler
from leyden_server.service_order import PATIENCE_S
from leyden_server.stages.contract import DenoiseRequest

KEYS = [BatchKey((4, side, side), "float32", (77, 2048, 1280)) for side in (16, 32, 64)]
TIMES = {
    KEYS[0]: RowTimes.of({1: 0.2, 2: 0.25, 4: 0.3, 8: 0.5}, padded=False),
    KEYS[1]: RowTimes.of({1: 0.5, 2: 0.7, 4: 1.1, 8: 2.2}, padded=True),
    KEYS[2]: RowTimes.of({1: 1.0, 2: 1.9, 4: 3.8}, padded=True),
}


@pytest.mark.parametrize("seed", range(3))
def test_no_size_waits_longer_than_what_came_before_it_takes(seed: int) -> None:
    """More comes than can be served, for a while: an image's wait is bounded by its elders' work.

    All have one priority and no deadline, so whoever came first leads. Every step is one of an
    image that came before, or of the image itself; together they have no more than so many.
    """
    draw = random.Random(seed)
    scheduler: StepScheduler[Image] = StepScheduler(lambda key, there: TIMES[key].paying(there))
    open_images: dict[Image, int] = {}
    bounds: dict[Image, int] = {}
    now_s, steps, done, arrives_s, came = 0.0, 0, 0, 0.0, 0
    while came < 150 or open_images:
        while came < 150 and arrives_s <= now_s:
            image = Image(
                str(came),
                arrives_s + 10 * PATIENCE_S,
                draw.choice(KEYS),
                rows=draw.choice([1, 2]),
                steps_left=draw.choice([1, 4, 20]),
                arrival_s=arrives_s,
            )
            elders = sum(one.steps_left for one in open_images)
            open_images[image], bounds[image] = steps, elders + image.steps_left
            scheduler.add(image)
            came, arrives_s = came + 1, arrives_s + draw.expovariate(1.5)
        batch, _ = scheduler.schedule(now_s)
        if not batch:
            now_s = arrives_s
            continue
        assert len({image.batch_key for image in batch}) == 1
        rows = sum(image.rows for image in batch)
        now_s, steps = now_s + TIMES[batch[0].batch_key].seconds[rows - 1], steps + 1
        for image in batch:
            image.steps_left -= 1
            if image.steps_left == 0:
                scheduler.remove(image)
                done += 1
                assert steps - open_images.pop(image) <= bounds[image]
    assert done == came == 150


async def test_between_steps_of_two_sizes_nothing_is_waited_for(
    service: DenoiseService, request_: DenoiseRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = service._engine
    gate = Gate(service._runner.run)
    monkeypatch.setattr(service._runner, "run", gate)
    waits: list[int] = []
    wait = engine._changed.wait

    def counted(timeout: float | None = None) -> bool:
        waits.append(len(gate.rows))
        return wait(timeout)

    sizes = [(64, 64), (96, 64), (64, 64), (96, 64), (64, 96)]
    requests = [
        sampled(request_, width_px=width, height_px=height, num_inference_steps=2 + number)
        for number, (width, height) in enumerate(sizes)
    ]
    with engine._changed:  # no step is chosen until all have come
        tasks = [asyncio.ensure_future(events_of(service, request)) for request in requests]
        await asyncio.sleep(0)
        assert engine.stats().waiting == len(sizes)
        monkeypatch.setattr(engine._changed, "wait", counted)
    gate.open()
    runs = await asyncio.gather(*tasks)

    assert [latents_of(events).shape[1:] for events in runs] == [
        (height // 8, width // 8) for width, height in sizes
    ]
    # The first two sizes share steps with their like alone, two images at a time.
    assert len(gate.rows) == 4 + 5 + 6
    assert [len(steps_of(events)) for events in runs] == [2, 3, 4, 5, 6]
    before_the_last = [after for after in waits if after < len(gate.rows)]
    assert not before_the_last, "the engine waited while there was something to run"
