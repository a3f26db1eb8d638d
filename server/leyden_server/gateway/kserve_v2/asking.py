"""How a ModelInferRequest comes in, by either method: read, looked up, and given its deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from leyden_server.config import GatewayConfig
from leyden_server.errors import DeadlineExceededError
from leyden_server.gateway.kserve_v2.decoding import Asked, decode
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.model_names import ready_model
from leyden_server.gateway.kserve_v2.shared_memory import HeldRegions
from leyden_server.generations.home import Caller
from leyden_server.generations.registry import Generations

__all__ = ["ask", "until_deadline"]


def ask(
    request: pb.ModelInferRequest,
    held: HeldRegions,
    caller: Caller,
    generations: Generations,
    config: GatewayConfig,
    *,
    streams: bool,
) -> Asked:
    """Read a request, and tell the caller's deadline from it; a refusal goes to the log.

    Raises:
        RequestError: it is refused.

    """
    caller.request_id = request.id
    try:
        model = ready_model(generations.catalog, request.model_name, request.model_version).model
        asked = decode(
            request,
            held,
            max_image_count=config.max_image_count,
            streams=streams,
            has_previews=model.preview is not None,
        )
        if len(asked.rows) > 1:  # or the first would begin before the last is found wrong
            for index, row in enumerate(asked.rows):
                generations.check(row, caller.account, asked.vocabulary(index))
    except Exception as error:
        generations.turned_away(caller, error, request.model_name)
        raise
    limits_s = (caller.timeout_s, asked.parameters.timeout_s)
    caller.timeout_s = min((limit_s for limit_s in limits_s if limit_s is not None), default=None)
    return asked


@asynccontextmanager
async def until_deadline(asked: Asked) -> AsyncIterator[None]:
    """Bound what is within by the request's own `timeout`.

    Raises:
        DeadlineExceededError: it is over.

    """
    try:
        async with asyncio.timeout(asked.parameters.timeout_s) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceededError from None
        raise
