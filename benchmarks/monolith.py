"""A minimal server with all stages in its one process: `python -m benchmarks.monolith`.

It answers `GenerateImage` with the events that Leyden sends, and checks, refuses, retries
and logs nothing: it has less to do than the Gateway, so the comparison favours it.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration

from benchmarks.fused_stages import FusedStages
from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_server.config import ServerConfig
from leyden_server.model_repository import ModelRepository
from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import (
    DecodeRequest,
    Denoised,
    DenoiseRequest,
    DenoiseStarted,
    EncodedPrompt,
    FloatArray,
    StepDone,
)

__all__ = ["Monolith"]

os.environ.setdefault("HF_HUB_OFFLINE", "1")

Context = grpc.aio.ServicerContext[pb.GenerateImageRequest, pb.GenerateImageResponse]


class Monolith(pb_grpc.ImageGenerationServiceServicer):
    """Generates one image a request, in the native size, without guidance, as PNG."""

    def __init__(self, stages: FusedStages) -> None:
        self._stages = stages

    async def GenerateImage(  # noqa: N802 - the stub's name
        self, request: pb.GenerateImageRequest, context: Context
    ) -> AsyncIterator[pb.GenerateImageResponse]:
        """Serve one request."""
        request.request_id = request.request_id or str(uuid.uuid4())
        index = 0
        async for event in self._events(request):
            event.request_id, event.event_index = request.request_id, index
            index += 1
            yield event

    async def WatchGeneration(  # noqa: N802 - the stub's name
        self, request: pb.WatchGenerationRequest, context: Context
    ) -> AsyncIterator[pb.GenerateImageResponse]:
        """Refuse: nothing is kept here."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)
        yield pb.GenerateImageResponse()

    async def CancelGeneration(  # noqa: N802 - the stub's name
        self, request: pb.CancelGenerationRequest, context: Context
    ) -> pb.CancelGenerationResponse:
        """Refuse: nothing is kept here."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    async def _events(
        self, request: pb.GenerateImageRequest
    ) -> AsyncIterator[pb.GenerateImageResponse]:
        accepted_s = time.monotonic()
        stages = self._stages
        bill = pb.Bill(images=[pb.ImageBill()])
        image_bill = bill.images[0]
        yield pb.GenerateImageResponse(queued=pb.Queued())
        prompt = await stages.text_encoder.encode(request.prompt)
        encode_s = time.monotonic() - accepted_s
        bill.text_encode_duration.CopyFrom(_duration(encode_s))
        yield pb.GenerateImageResponse(text_encoded=pb.TextEncoded(token_count=prompt.token_count))

        steps = request.num_inference_steps or stages.model.steps.default
        denoise_request = self._denoise_request(request, prompt, steps)
        latents: FloatArray | None = None
        async for item in stages.denoiser.denoise(denoise_request):
            match item:
                case DenoiseStarted():
                    queue_s = time.monotonic() - accepted_s - encode_s
                    bill.queue_duration.CopyFrom(_duration(queue_s))
                case StepDone():
                    duration = _duration(item.duration_s)
                    image_bill.steps.add(duration=duration, batch_rows=item.batch_rows)
                    yield _progress(item, steps, time.monotonic() - accepted_s)
                case Denoised():
                    latents = item.latents
        assert latents is not None
        image = await stages.vae.decode(
            DecodeRequest(
                latents,
                "PNG",
                100,
                {"prompt": request.prompt, "seed": request.seed},
                TravellingOrder(),
            )
        )
        image_bill.vae_decode_duration.CopyFrom(_duration(image.vae_decode_s))
        image_bill.image_encode_duration.CopyFrom(_duration(image.image_encode_s))
        yield pb.GenerateImageResponse(
            image=pb.Image(
                seed=request.seed,
                format=pb.OUTPUT_FORMAT_PNG,
                width_px=image.width_px,
                height_px=image.height_px,
                size_bytes=len(image.data),
                data=image.data,
            )
        )
        bill.total_duration.CopyFrom(_duration(time.monotonic() - accepted_s))
        yield pb.GenerateImageResponse(
            summary=pb.Summary(
                model=stages.model.name,
                width_px=image.width_px,
                height_px=image.height_px,
                num_inference_steps=steps,
                solver=pb.SOLVER_EULER,
                bill=bill,
            )
        )

    def _denoise_request(
        self, request: pb.GenerateImageRequest, prompt: EncodedPrompt, steps: int
    ) -> DenoiseRequest:
        model = self._stages.model
        return DenoiseRequest(
            request_id=request.request_id,
            image_index=0,
            sampling=Sampling(
                request.seed, model.width_px, model.height_px, steps, 0.0, model.solvers[0]
            ),
            prompt=prompt,
            negative_prompt=None,
            order=TravellingOrder(),
            preview=None,
        )


async def serve(stages: FusedStages, started: "asyncio.Future[str] | None" = None) -> None:
    """Serve on a free port until cancelled; print, or tell `started`, where."""
    server = grpc.aio.server()
    pb_grpc.add_ImageGenerationServiceServicer_to_server(Monolith(stages), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    if started is None:
        print(f"ready: grpc {address}", flush=True)
    else:
        started.set_result(address)
    try:
        await server.wait_for_termination()
    finally:
        await server.stop(None)


def main() -> None:
    """Serve one model until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="the model's name in the repository")
    parser.add_argument("--model-repository", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    # A process that is started in the background may have been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    model = ModelRepository(arguments.model_repository).resolve(arguments.model)
    stages = FusedStages(model, ServerConfig())
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(stages))
    finally:
        stages.stop()


def _progress(item: StepDone, total_steps: int, elapsed_s: float) -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(
        denoise_progress=pb.DenoiseProgress(
            step=item.step,
            total_steps=total_steps,
            timestep=item.timestep,
            sigma=item.sigma,
            elapsed_duration=_duration(elapsed_s),
            remaining_duration=_duration(elapsed_s * (total_steps / item.step - 1)),
            batch_rows=item.batch_rows,
        )
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


if __name__ == "__main__":
    main()
