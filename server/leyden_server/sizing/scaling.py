"""Has Serve's autoscaler look at a simulated stage, as Serve's controller looks at a real one."""

import asyncio
from typing import TYPE_CHECKING

from leyden_server.config import StageConfig
from leyden_server.sizing.design import Design
from leyden_server.sizing.stage import Stage

if TYPE_CHECKING:
    from leyden_server.sizing.serve_autoscaler import ServeAutoscaler

__all__ = ["scale"]


async def scale(stage: Stage, design: Design) -> None:
    """Scale a stage until cancelled."""
    # Ray takes a second to import, and a design of fixed replicas does without.
    from leyden_server.sizing.serve_autoscaler import CONTROL_LOOP_INTERVAL_S, autoscaler

    target = design.target_ongoing.get(stage.name, StageConfig().target_ongoing_requests)
    replicas = design.replicas[stage.name]
    serve = autoscaler(
        min_replicas=replicas.at_rest,
        max_replicas=replicas.most,
        target_ongoing_requests=target,
        upscale_delay_s=design.upscale_delay_s,
        downscale_delay_s=design.downscale_delay_s,
    )
    telling = asyncio.create_task(_tell(stage, serve))
    clock = asyncio.get_running_loop().time
    try:
        while True:
            wanted = serve.decide(clock(), running=len(stage.running), target=stage.target)
            if wanted != stage.target:
                stage.scale_to(wanted)
            await asyncio.sleep(CONTROL_LOOP_INTERVAL_S)
    finally:
        telling.cancel()


async def _tell(stage: Stage, serve: "ServeAutoscaler") -> None:
    clock = asyncio.get_running_loop().time
    told_s = clock()
    while True:
        serve.record(clock(), stage.ongoing)
        if clock() - told_s >= serve.tell_interval_s:
            serve.tell()
            told_s = clock()
        await asyncio.sleep(serve.record_interval_s)
