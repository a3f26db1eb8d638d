"""ModelInfer: a request, its generations watched to their ends, one answer."""

import asyncio
from typing import Any

import grpc

from leyden_server.config import GatewayConfig
from leyden_server.errors import InvalidRequestError, NoRequestError
from leyden_server.gateway.answering import caller_of, departure_code
from leyden_server.gateway.kserve_v2.answering import refuse
from leyden_server.gateway.kserve_v2.asking import ask, until_deadline
from leyden_server.gateway.kserve_v2.decoding import Asked
from leyden_server.gateway.kserve_v2.encoding import add_images, add_warnings, response
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.regions import place
from leyden_server.gateway.kserve_v2.rows import Rows
from leyden_server.gateway.kserve_v2.shared_memory import HeldRegions, SharedMemory
from leyden_server.gateway.kserve_v2.signature import PROTOCOL
from leyden_server.gateway.parsing import parse
from leyden_server.generations.assembly import Assembly
from leyden_server.generations.events import Image, ImageChunk, Summary
from leyden_server.generations.home import Caller
from leyden_server.generations.registry import Generations
from leyden_server.generations.watching import Watching

__all__ = ["ModelInfer"]

METHOD = "inference.GRPCInferenceService/ModelInfer"

Context = grpc.aio.ServicerContext[bytes, Any]


class ModelInfer:
    """Serves ModelInfer."""

    def __init__(
        self, generations: Generations, memory: SharedMemory, config: GatewayConfig
    ) -> None:
        self._generations = generations
        self._memory = memory
        self._config = config

    async def model_infer(self, data: bytes, context: Context) -> bytes:
        """Generate the images of a request and return the answer."""
        caller = caller_of(context, METHOD)
        call_timeout_s = caller.timeout_s
        try:
            request = parse(pb.ModelInferRequest, data)
        except InvalidRequestError as error:
            self._generations.turned_away(caller, error)
            await refuse(error, context)
        try:
            with self._memory.hold(caller.peer) as held, Rows() as rows:
                asked = ask(request, held, caller, self._generations, self._config, streams=False)
                try:
                    return await self._answer(asked, held, rows, caller)
                except asyncio.CancelledError:
                    rows.leave(departure_code(context.time_remaining(), call_timeout_s))
                    raise
        except Exception as error:  # noqa: BLE001 - the table maps every one
            await refuse(self._generations.known(error), context)

    def refused(self, context: Context, error: NoRequestError) -> None:
        """Have a call in the log that carried no request."""
        self._generations.turned_away(caller_of(context, METHOD), error)

    async def _answer(self, asked: Asked, held: HeldRegions, rows: Rows, caller: Caller) -> bytes:
        async with until_deadline(asked):
            await rows.start(self._generations, asked, caller)
            made = await rows.side_by_side(_made)
            message = response(asked.rows[0].model, asked.id)
            await add_images(
                message, [image for images, _ in made for image in images], asked.outputs
            )
            add_warnings(message, [summary for _, summary in made])
            place(message, asked.regions, held)
            answer = message.SerializeToString()
            self._generations.sent(PROTOCOL, len(answer))
            return answer


async def _made(row: int, watching: Watching) -> tuple[list[Image], Summary]:
    """Return a generation's images, in order, and its summary, once it has ended."""
    del row
    assembly, images = Assembly(), dict[int, Image]()
    async for _, event in await watching.events():
        if isinstance(event, Image | ImageChunk):
            image = assembly.take(event)
            if image is not None:
                images[image.image_index] = image
        elif isinstance(event, Summary):
            summary = event
    return [images[index] for index in sorted(images)], summary
