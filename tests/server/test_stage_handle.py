"""What a stage's callers wait for, on deployments whose start and answers the tests hold up."""

import asyncio
import math
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray import serve
from support.patience import PATIENCE_S
from support.running_server import RunningServer, eventually

from leyden_server.errors import UnavailableError
from leyden_server.stages import replica_counts
from leyden_server.stages.ray_handle import (
    MAX_BY_VALUE_BYTES,
    SERVE_ENVIRONMENT,
    Patience,
    StageHandle,
)
from leyden_server.stages.replica_counts import LOOK_TIMEOUT_S, ReplicaCounts

STALL_TIMEOUT_S = 3.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the controller's answer may take longer than a caller waits for it."""
    monkeypatch.setattr(replica_counts, "LOOK_TIMEOUT_S", PATIENCE_S)


@dataclass(frozen=True)
class Deployed:
    """A stage at rest, whose replica is not up until it is let."""

    application: str
    gate: Path

    def let_it_start(self) -> None:
        self.gate.touch()

    def stage(
        self,
        start_timeout_s: float,
        *,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        gone_after_s: float = math.inf,
        may_rest: bool = True,
        rest_after_s: float = 0.0,
    ) -> StageHandle:
        patience = Patience(stall_timeout_s, start_timeout_s, gone_after_s)
        rests = rest_after_s if may_rest else None
        return StageHandle(self.application, "HeldUp", patience, ReplicaCounts(), rests)


@pytest.fixture
def deployed(ray_server: RunningServer, tmp_path: Path) -> Iterator[Deployed]:
    del ray_server  # for its Ray
    # What this process called under a name before has Serve start a replica of the next one there.
    one = Deployed(f"held-up-{uuid.uuid4().hex[:8]}", tmp_path / "gate")

    # Defined here, so that its code travels to the replica, which cannot import tests.
    class HeldUp:
        def __init__(self, gate: Path) -> None:
            import time

            while not gate.exists():
                time.sleep(0.05)

        async def ready(self) -> str:
            return "ready"

        async def answer(self) -> str:
            return "answer"

        async def environment(self, names: list[str]) -> dict[str, str | None]:
            import os

            return {name: os.environ.get(name) for name in names}

        async def never(self) -> None:
            import asyncio

            await asyncio.Event().wait()

        async def cancelled(self) -> None:
            import asyncio

            raise asyncio.CancelledError

        async def broken_off(self) -> AsyncIterator[int]:
            import asyncio

            yield 1
            raise asyncio.CancelledError

    deployment: Any = serve.deployment(
        HeldUp,
        name="HeldUp",
        ray_actor_options={"num_cpus": 0},
        autoscaling_config={"min_replicas": 0, "max_replicas": 1, "initial_replicas": 0},
    )
    serve.run(deployment.bind(one.gate), name=one.application, route_prefix=None)
    yield one
    one.let_it_start()
    serve.delete(one.application)


async def test_replicas_alone_have_serves_environment(deployed: Deployed) -> None:
    deployed.let_it_start()
    stage = deployed.stage(PATIENCE_S)
    await stage.wake()
    assert await stage.call("environment", [*SERVE_ENVIRONMENT]) == SERVE_ENVIRONMENT
    assert not SERVE_ENVIRONMENT.keys() & os.environ.keys()


async def test_a_start_is_no_stall_however_long_it_takes(
    deployed: Deployed,
) -> None:
    held_up = deployed.stage(start_timeout_s=120)
    assert held_up.expected_start_s() == 0
    await held_up.wake()
    assert held_up.expected_start_s() is None, "it starts, and no start was seen before"
    call = asyncio.create_task(held_up.call("answer"))
    await asyncio.wait([call], timeout=4 * STALL_TIMEOUT_S)
    assert not call.done()
    deployed.let_it_start()
    assert await asyncio.wait_for(call, PATIENCE_S) == "answer"
    await asyncio.to_thread(eventually, lambda: held_up.expected_start_s() == 0)

    # It runs now: waking it changes nothing, and whoever is not answered is told so.
    await held_up.wake()
    assert held_up.expected_start_s() == 0
    with pytest.raises(UnavailableError) as caught:
        await asyncio.wait_for(held_up.call("never"), PATIENCE_S)
    assert caught.value.reason == "STAGE_STALLED"


async def test_a_stage_that_was_sent_to_rest_while_in_use_is_started(
    deployed: Deployed,
) -> None:
    """Serve does so where all calls were too short for its samples."""
    deployed.let_it_start()
    held_up = deployed.stage(
        start_timeout_s=PATIENCE_S, stall_timeout_s=PATIENCE_S, rest_after_s=3600
    )
    await held_up._replicas.running(deployed.application)
    held_up._last_use_s = time.monotonic()
    while held_up.expected_start_s() == 0:
        await asyncio.sleep(0.1)
        await held_up.wake()
    assert await asyncio.wait_for(held_up.call("answer"), PATIENCE_S) == "answer"


async def test_a_stage_at_rest_is_started_though_the_controller_does_not_answer(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever has a few seconds waits them out, in place of being told how long it takes."""
    held_up = deployed.stage(start_timeout_s=PATIENCE_S, stall_timeout_s=PATIENCE_S)
    assert await held_up._replicas.running(deployed.application) == 0

    async def no_answer(_: str) -> None:
        await asyncio.sleep(LOOK_TIMEOUT_S)

    monkeypatch.setattr(held_up._replicas, "running", no_answer)
    await asyncio.wait_for(held_up.wake(), LOOK_TIMEOUT_S / 2)
    assert held_up.starts
    deployed.let_it_start()
    assert await asyncio.wait_for(held_up.call("answer"), PATIENCE_S) == "answer"


async def test_a_stage_that_gets_no_replica_is_given_up(deployed: Deployed) -> None:
    held_up = deployed.stage(start_timeout_s=3 * STALL_TIMEOUT_S)
    with pytest.raises(UnavailableError) as caught:
        await asyncio.wait_for(held_up.call("answer"), PATIENCE_S)
    assert caught.value.reason == "STAGE_NOT_STARTED"


async def test_an_answer_that_the_replica_cancels_is_a_death(
    deployed: Deployed,
) -> None:
    """A replica that goes down cancels what it runs: the caller must not take it for its own."""
    deployed.let_it_start()
    held_up = deployed.stage(start_timeout_s=PATIENCE_S, stall_timeout_s=PATIENCE_S)

    async def by_value() -> None:
        await held_up.call("cancelled")

    async def by_reference() -> None:
        await held_up.call("cancelled", result_bytes=MAX_BY_VALUE_BYTES + 1)

    async def stream() -> None:
        assert [item async for item in held_up.stream("broken_off")] == [1]

    for run in (by_value, by_reference, stream):
        with pytest.raises(UnavailableError) as caught:
            await asyncio.wait_for(run(), PATIENCE_S)
        assert caught.value.reason == "STAGE_DIED"


@pytest.mark.parametrize("may_rest", [True, False])
async def test_a_stage_without_a_replica_is_gone_after_a_while_unless_it_rests(
    deployed: Deployed, may_rest: bool
) -> None:
    held_up = deployed.stage(
        start_timeout_s=120, stall_timeout_s=60, gone_after_s=1.0, may_rest=may_rest
    )
    watching = asyncio.create_task(held_up._replicas.watch())
    try:
        await asyncio.to_thread(
            eventually, lambda: held_up._replicas.known(deployed.application) is not None
        )
        if may_rest:
            await asyncio.to_thread(eventually, lambda: held_up._rests)
            await asyncio.to_thread(
                eventually, lambda: held_up._replicas.without_replica_s(deployed.application) > 2
            )
            assert (held_up.problem, held_up.starts) == ("", False)
            return
        await asyncio.to_thread(eventually, lambda: held_up.problem)
        assert "has had no running replica for" in held_up.problem
        assert held_up.starts
        call = asyncio.create_task(held_up.call("answer"))
        deployed.let_it_start()
        assert await asyncio.wait_for(call, PATIENCE_S) == "answer"
        await asyncio.to_thread(eventually, lambda: not held_up.problem)
        assert held_up.replicas == 1
        assert not held_up.starts
    finally:
        watching.cancel()
