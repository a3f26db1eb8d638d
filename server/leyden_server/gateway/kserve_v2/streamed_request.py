"""One request of a stream: a response for each denoise step and each image, and which is last."""

import asyncio
from collections.abc import Awaitable, Callable

from leyden_server.gateway.kserve_v2.answering import error_message
from leyden_server.gateway.kserve_v2.decoding import Asked
from leyden_server.gateway.kserve_v2.encoding import (
    add_images,
    add_progress,
    add_warnings,
    response,
)
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.regions import place
from leyden_server.gateway.kserve_v2.response_notes import Part, ResponseNotes
from leyden_server.gateway.kserve_v2.rows import Rows
from leyden_server.gateway.kserve_v2.shared_memory import HeldRegions
from leyden_server.gateway.kserve_v2.signature import STREAMED_ONLY
from leyden_server.generations.assembly import Assembly
from leyden_server.generations.events import DenoiseProgress, Image, ImageChunk, Summary
from leyden_server.generations.watching import Watching

__all__ = ["StreamedRequest", "failure"]

FINAL = "triton_final_response"


class StreamedRequest:
    """Answers one request; its last image is held back until its generations have ended."""

    def __init__(
        self,
        asked: Asked,
        held: HeldRegions,
        send: Callable[[pb.ModelStreamInferResponse], Awaitable[None]],
        notes: ResponseNotes,
    ) -> None:
        """`send` returns once a response is written, which `notes` are then told."""
        self._asked = asked
        self._memory = held
        self._send = send
        self._notes = notes
        self._last_image: pb.ModelInferResponse | None = None
        """The response that has the last image."""
        self._images_left = sum(max(1, row.image_count) for row in asked.rows)
        self._summaries: list[Summary] = []

    async def answer(self, rows: Rows) -> None:
        """Send all responses; raises what a generation failed of."""
        try:
            await self._answer(rows)
        except asyncio.CancelledError:
            self._notes.cancelled()
            raise
        except Exception:
            self._notes.failed()
            raise

    async def _answer(self, rows: Rows) -> None:
        await rows.side_by_side(self._follow)
        last = self._last_image
        if last is None or self._asked.parameters.wants_empty_final:
            if last is not None:
                await self._send_one(last, "compute_output")
            last = self._response()
        add_warnings(last, self._summaries)
        await self._send_one(last, "compute_output" if last.outputs else "", is_final=True)

    async def _follow(self, row: int, watching: Watching) -> None:
        assembly = Assembly()
        shows_steps = bool(self._asked.outputs & STREAMED_ONLY)
        async for _, event in await watching.events():
            match event:
                case DenoiseProgress() if shows_steps:
                    await self._step(row, event)
                case Image() | ImageChunk():
                    image = assembly.take(event)
                    if image is not None:
                        await self._image(row, image)
                case Summary():
                    self._summaries.append(event)

    async def _step(self, row: int, event: DenoiseProgress) -> None:
        message = self._response(row, event.image_index)
        add_progress(message, event, self._asked.outputs)
        if message.outputs:  # a step without the preview that alone is wanted has none
            await self._send_one(message, "compute_infer")

    async def _image(self, row: int, image: Image) -> None:
        message = self._response(row, image.image_index)
        await add_images(message, [image], self._asked.outputs)
        self._images_left -= 1
        if not message.outputs:  # nothing of an image is wanted
            return
        if self._images_left:
            await self._send_one(message, "compute_output")
        else:
            self._last_image = message

    def _response(self, row: int = 0, image_index: int | None = None) -> pb.ModelInferResponse:
        message = response(self._asked.rows[0].model, self._asked.id)
        if image_index is not None:
            # One of the two is 0: a request of several rows has one image in each.
            message.parameters["image_index"].int64_param = row + image_index
        return message

    async def _send_one(
        self, message: pb.ModelInferResponse, part: Part, *, is_final: bool = False
    ) -> None:
        message.parameters[FINAL].bool_param = is_final
        # Only now: each response of a stream is written to the same place.
        place(message, self._asked.regions, self._memory)
        if is_final:  # A client that has had the last response may unregister its regions.
            self._memory.release()
        await self._send(pb.ModelStreamInferResponse(infer_response=message))
        self._notes.sent(part)


def failure(error: Exception, request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
    """Return how one request of a stream failed: its last response, and only its."""
    message = response(request.model_name, request.id)
    message.parameters[FINAL].bool_param = True
    return pb.ModelStreamInferResponse(error_message=error_message(error), infer_response=message)
