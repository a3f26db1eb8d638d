"""The simulation behind `leyden plan`: what theory knows, and what must never happen."""

import asyncio
import random
import statistics
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.sizing import NOTHING_S, SIZE_PX, costs_with, fixed

from leyden_server.denoiser.step_scheduler import StepScheduler
from leyden_server.errors import ConfigError
from leyden_server.sizing import virtual_time
from leyden_server.sizing.arrivals import bursts, day, evenly
from leyden_server.sizing.card import Card
from leyden_server.sizing.costs import costs_of, known_gpus
from leyden_server.sizing.design import STAGES, Replicas
from leyden_server.sizing.goal import Goal
from leyden_server.sizing.images import Image, Kind
from leyden_server.sizing.outcome import Outcome, percentile
from leyden_server.sizing.plan import _lengths
from leyden_server.sizing.simulation import LostNode, closed_loop, simulate

ONE_STEP = (Kind(steps=1, size_px=SIZE_PX),)
FOUR_STEPS = (Kind(steps=4, size_px=SIZE_PX),)


def test_an_hour_of_virtual_time_takes_no_time_and_ends_where_it_should() -> None:
    async def wait() -> float:
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(1800))
        return asyncio.get_running_loop().time()

    assert virtual_time.run(wait()) == pytest.approx(3600)


def test_waiting_for_what_nobody_will_do_is_an_error_and_no_hang() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="wait for ever"):
        virtual_time.run(wait())


def test_runs_on_one_card_share_it() -> None:
    async def ends() -> list[float]:
        card, clock = Card("card"), asyncio.get_running_loop().time

        async def end(begin_s: float, seconds: float) -> float:
            await asyncio.sleep(begin_s)
            await card.run(seconds)
            return clock()

        return [*await asyncio.gather(end(0, 4), end(1, 1)), card.busy_s]

    # From 1 s on each has half: the second is done at 3 s, the first, alone again, at 5 s.
    assert virtual_time.run(ends()) == pytest.approx([5, 3, 5])


def waits_s(arrivals: Iterator[float], service_s: float) -> list[float]:
    """Return the waits of one server that takes one after another (Lindley)."""
    free_s, waits = 0.0, []
    for at_s in arrivals:
        waits.append(max(0.0, free_s - at_s))
        free_s = max(free_s, at_s) + service_s
    return waits


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_row_waits_as_long_as_theory_says(load: float) -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) times of service (Pollaczek, Khinchine)."""
    step_s = 0.1
    some, many = evenly(load / step_s, 200), evenly(load / step_s, 40_000)
    outcome = simulate(fixed(), costs_with({1: step_s}), ONE_STEP, some, name="", seed=4)
    expected = waits_s(some.arrivals(random.Random("4 arrivals")), step_s)
    simulated = [took_s - step_s for _, took_s in sorted(outcome.finished)]
    assert simulated == pytest.approx(expected, abs=1e-6)
    mean_s = statistics.fmean(waits_s(many.arrivals(random.Random(0)), step_s))
    assert mean_s == pytest.approx(step_s * load / (2 * (1 - load)), rel=0.05)
    assert outcome.busy["denoiser"] == pytest.approx(load, rel=0.1)


def test_rows_that_cost_nothing_more_share_their_steps() -> None:
    """Everybody takes 4 steps, and waits for the end of the one that runs as it comes."""
    outcome = closed_loop(
        fixed(), costs_with({1: 0.1, 8: 0.1}), FOUR_STEPS[0], clients=8, requests=400, seed=0
    )
    assert outcome.done / outcome.length_s == pytest.approx(8 / 0.5, rel=0.03)


def test_it_is_the_real_step_scheduler_that_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    real = StepScheduler.schedule

    def the_first_alone(
        self: StepScheduler[Image], now_s: float
    ) -> tuple[list[Image], list[Image]]:
        batch, _ = real(self, now_s)
        for one in batch[1:]:
            self.remove(one)
            self.add(one)
        return batch[:1], batch[:1]

    def rate() -> float:
        costs = costs_with({1: 0.1, 8: 0.1})
        outcome = closed_loop(fixed(), costs, FOUR_STEPS[0], clients=8, requests=80, seed=0)
        return outcome.done / outcome.length_s

    batched = rate()
    monkeypatch.setattr(StepScheduler, "schedule", the_first_alone)
    assert rate() < batched / 4


def lossy(**settings: float) -> Outcome:
    design = replace(
        fixed(gateways=2, denoiser=4, vae=2),
        replicas={
            "text_encoder": Replicas(1, 1),
            "denoiser": Replicas(3, 6),
            "vae": Replicas(1, 3),
        },
        max_waiting_images=20,
        max_ongoing_requests=8,
    )
    vae = {SIZE_PX: {"seconds": {1: 0.05, 4: 0.18}, "memory_gib": {1: 1.0}}}
    costs = costs_with({1: 0.02, 2: 0.03, 4: 0.05, 8: 0.09}, vae=vae)
    load = bursts(30.0, 3.0, 240.0, every_s=60, last_s=15)
    fault = LostNode(at_s=80, unnoticed_s=4, away_s=50) if settings.get("lost") else None
    return simulate(design, costs, FOUR_STEPS, load, name="", seed=1, fault=fault)


@pytest.mark.parametrize("lost", [False, True])
def test_every_request_ends_once(lost: bool) -> None:
    outcome = lossy(lost=lost)
    assert outcome.ends.total() == outcome.offered
    assert outcome.ends["refused"] > 0
    assert len(outcome.finished) == outcome.done
    assert outcome.retried > 0 if lost else outcome.retried == 0
    running = [sample.running["denoiser"] for sample in outcome.samples]
    assert max(running) > 3, "Serve scaled up"
    assert outcome.samples[-1].at_s <= outcome.length_s


def test_a_lost_node_loses_no_request_and_is_noticed_late() -> None:
    costs = costs_with({1: 0.02, 2: 0.03, 4: 0.05, 8: 0.09})
    design = fixed(denoiser=3)
    fault = LostNode(at_s=40, unnoticed_s=5, away_s=30)
    whole = simulate(design, costs, FOUR_STEPS, evenly(20, 120), name="", seed=0)
    outcome = simulate(design, costs, FOUR_STEPS, evenly(20, 120), name="", seed=0, fault=fault)
    assert (outcome.lost, whole.retried) == (0, 0)
    assert outcome.retried > 0
    assert outcome.latency_s(1.0) > 5 > whole.latency_s(1.0)
    counts = {sample.running["denoiser"] for sample in outcome.samples}
    # Away for 30 s, and a replica's start of 30 s after that.
    assert counts == {2, 3}
    assert outcome.samples[-1].running["denoiser"] == 3


def test_with_no_retry_a_lost_node_loses_what_it_had() -> None:
    costs = costs_with({1: 0.02, 2: 0.03, 4: 0.05, 8: 0.09})
    design = replace(fixed(denoiser=3), stage_retries=0)
    fault = LostNode(at_s=40, unnoticed_s=5, away_s=30)
    outcome = simulate(design, costs, FOUR_STEPS, evenly(20, 120), name="", seed=0, fault=fault)
    assert outcome.ends["failed"] > 0
    assert outcome.ends.total() == outcome.offered


def test_the_same_seed_gives_the_same_and_another_one_does_not() -> None:
    def times(seed: int) -> list[float]:
        costs = costs_with({1: 0.02, 8: 0.05})
        return simulate(
            fixed(denoiser=2), costs, FOUR_STEPS, evenly(20, 30), name="", seed=seed
        ).latencies_s

    assert times(1) == times(1) != times(2)


def test_a_gateway_that_is_busy_is_waited_for() -> None:
    gateway = {
        "request_s": 0.1,
        "step_s": 0.0,
        "refusal_s": 0.1,
        "claim_s": NOTHING_S,
        "measured": "invented",
    }
    costs = costs_with({1: NOTHING_S}, gateway=gateway)
    load = evenly(8.0, 300.0)
    one = simulate(fixed(gateways=1), costs, ONE_STEP, load, name="", seed=0)
    four = simulate(fixed(gateways=4), costs, ONE_STEP, load, name="", seed=0)
    assert one.busy["gateway"] == pytest.approx(0.8, rel=0.05)
    assert statistics.fmean(one.latencies_s) > 5 * statistics.fmean(four.latencies_s)


def test_loads_have_their_rates() -> None:
    steady, noon = evenly(10, 100), day(10, 0.2, 1000)
    assert steady.rate_at(50) == 10
    assert (noon.rate_at(0), noon.rate_at(500)) == pytest.approx((2, 10))
    burst = bursts(10, 3, 1000, every_s=100, last_s=20)
    assert [burst.rate_at(s) for s in (0, 49, 51, 69, 71, 151)] == [10, 10, 30, 30, 10, 30]


def test_designs_for_a_high_rate_are_tried_in_brief_and_then_for_as_long_as_is_asked() -> None:
    high = Goal(rate_per_s=680.0, p95_s=2.0, kinds=(Kind(4, 1024),))
    brief, whole = _lengths("steady", high)
    assert brief.length_s == 30.0
    assert whole == high
    # A burst, a day and a lost node take their time, and few requests say little.
    assert list(_lengths("bursts", high)) == [high]
    low = replace(high, rate_per_s=20.0)
    assert list(_lengths("steady", low)) == [low]


def test_percentiles_are_of_the_values() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.25, 0.5, 0.51, 1)] == [
        1, 1, 2, 3, 4,
    ]  # fmt: skip


def test_a_gpu_that_nobody_measured_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'a100'; known are h100, h200"):
        costs_of("a100")
    for gpu in known_gpus():
        costs = costs_of(gpu)
        assert gpu in costs.gpu.lower()
        assert set(costs.host_memory_gib) == set(STAGES)
