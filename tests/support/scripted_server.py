"""A real gRPC server whose replies a test writes down beforehand."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_status import rpc_status
from support.patience import PATIENCE_S

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden.v1 import model_service_pb2 as model_pb
from leyden.v1 import model_service_pb2_grpc as model_pb_grpc

REQUEST_ID = "request-1"


@dataclass(frozen=True)
class Fail:
    """End the call with a status and its details."""

    code: grpc.StatusCode
    message: str = "it failed"
    details: Sequence[Message] = ()

    def status(self) -> grpc.Status:
        packed = []
        for detail in self.details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        return rpc_status.to_status(
            status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)
        )


class Hold:
    """Send nothing more until the call has ended."""


Step = pb.GenerateImageResponse | Fail | Hold


def _not_known() -> list[Step]:
    info = error_details_pb2.ErrorInfo(reason="GENERATION_NOT_FOUND")
    return [Fail(grpc.StatusCode.NOT_FOUND, "no such generation", [info])]


@dataclass
class ScriptedServer(pb_grpc.ImageGenerationServiceServicer, model_pb_grpc.ModelServiceServicer):
    """Answers GenerateImage and WatchGeneration by scripts, other calls with what it holds.

    Events of a script that carry REQUEST_ID are sent with the id that was asked for.
    """

    script: Sequence[Step] = field(default_factory=list)
    """Of each GenerateImage call, unless `scripts` has one."""
    scripts: list[Sequence[Step]] = field(default_factory=list)
    """Of the next GenerateImage calls, one after another."""
    watch_script: Sequence[Step] = field(default_factory=_not_known)
    """Of each WatchGeneration call, unless `watch_scripts` has one."""
    watch_scripts: list[Sequence[Step]] = field(default_factory=list)
    """Of the next WatchGeneration calls, one after another."""
    cancel_fails: Fail | Hold | None = None
    """What CancelGeneration answers: an error, or nothing. None: that the generation is marked."""
    models: list[model_pb.Model] = field(default_factory=list)
    load_fails: Fail | Hold | None = None
    """What LoadModel and UnloadModel answer: an error, or nothing. None: that it is done."""
    state: model_pb.GetServerStateResponse = field(default_factory=model_pb.GetServerStateResponse)
    """What GetServerState answers."""
    looks: int = 0
    """GetServerState calls."""
    loads: list[str] = field(default_factory=list)
    """The model of each LoadModel call."""
    unloads: list[str] = field(default_factory=list)
    """The model of each UnloadModel call."""
    requests: list[pb.GenerateImageRequest] = field(default_factory=list)
    watches: list[pb.WatchGenerationRequest] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    """The request_id of each CancelGeneration call."""
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    ends: list[threading.Event] = field(default_factory=list)
    """Of each call that streams, set once it has ended, by its client or by itself."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set once a call that streams has ended before its script did."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set once a script is at a Hold."""
    target: str = ""
    health: HealthServicer = field(default_factory=HealthServicer)

    def release(self) -> None:
        """Let go of the scripts that are held."""
        for ended in self.ends:
            ended.set()

    def GenerateImage(  # noqa: N802
        self, request: pb.GenerateImageRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GenerateImageResponse]:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        script = self.scripts.pop(0) if self.scripts else self.script
        return self._play(script, request.request_id, context)

    def WatchGeneration(  # noqa: N802
        self, request: pb.WatchGenerationRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GenerateImageResponse]:
        self.watches.append(request)
        script = self.watch_scripts.pop(0) if self.watch_scripts else self.watch_script
        return self._play(script, request.request_id, context)

    def CancelGeneration(  # noqa: N802
        self, request: pb.CancelGenerationRequest, context: grpc.ServicerContext
    ) -> pb.CancelGenerationResponse:
        self.cancels.append(request.request_id)
        self._fail(self.cancel_fails, context)
        return pb.CancelGenerationResponse()

    def _fail(self, how: Fail | Hold | None, context: grpc.ServicerContext) -> None:
        match how:
            case Fail():
                context.abort_with_status(how.status())
            case Hold():
                ended = threading.Event()
                if context.add_callback(ended.set):
                    self.held.set()
                    ended.wait(PATIENCE_S)
            case None:
                pass

    def _play(
        self, script: Sequence[Step], request_id: str, context: grpc.ServicerContext
    ) -> Iterator[pb.GenerateImageResponse]:
        ended = threading.Event()
        self.ends.append(ended)
        if not context.add_callback(ended.set):
            ended.set()
        finished = False
        try:
            for step in script:
                match step:
                    case Fail():
                        finished = True
                        context.abort_with_status(step.status())
                    case Hold():
                        self.held.set()
                        ended.wait(PATIENCE_S)
                        return
                    case _:
                        yield named(step, request_id)
            finished = True
        finally:
            if not finished:
                self.cancelled.set()

    def ListModels(  # noqa: N802
        self, request: model_pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_pb.ListModelsResponse:
        return model_pb.ListModelsResponse(models=self.models)

    def GetModel(  # noqa: N802
        self, request: model_pb.GetModelRequest, context: grpc.ServicerContext
    ) -> model_pb.GetModelResponse:
        for model in self.models:
            if model.name == request.model or (model.is_default and not request.model):
                return model_pb.GetModelResponse(model=model)
        info = error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND", metadata={"models": "tiny"})
        fail = Fail(grpc.StatusCode.NOT_FOUND, f"no model {request.model!r}", [info])
        context.abort_with_status(fail.status())
        raise AssertionError("abort_with_status raises")

    def LoadModel(  # noqa: N802
        self, request: model_pb.LoadModelRequest, context: grpc.ServicerContext
    ) -> model_pb.LoadModelResponse:
        self.loads.append(request.model)
        self._fail(self.load_fails, context)
        found = next(model for model in self.models if model.name == request.model)
        return model_pb.LoadModelResponse(model=found)

    def UnloadModel(  # noqa: N802
        self, request: model_pb.UnloadModelRequest, context: grpc.ServicerContext
    ) -> model_pb.UnloadModelResponse:
        self.unloads.append(request.model)
        self._fail(self.load_fails, context)
        return model_pb.UnloadModelResponse()

    def GetServerState(  # noqa: N802
        self, request: model_pb.GetServerStateRequest, context: grpc.ServicerContext
    ) -> model_pb.GetServerStateResponse:
        self.looks += 1
        return self.state


def named(event: pb.GenerateImageResponse, request_id: str) -> pb.GenerateImageResponse:
    if event.request_id != REQUEST_ID:
        return event
    named = pb.GenerateImageResponse()
    named.CopyFrom(event)
    named.request_id = request_id
    return named


def serve(
    scripted: ScriptedServer,
    workers: int = 8,
    interceptors: "list[grpc.ServerInterceptor[Any, Any]] | None" = None,
) -> grpc.Server:
    server = grpc.server(futures.ThreadPoolExecutor(workers), interceptors=interceptors)
    pb_grpc.add_ImageGenerationServiceServicer_to_server(scripted, server)
    model_pb_grpc.add_ModelServiceServicer_to_server(scripted, server)
    health_pb2_grpc.add_HealthServicer_to_server(scripted.health, server)
    scripted.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return server


def asked(
    request: pb.GenerateImageRequest, *, seed_is_given: bool = False
) -> pb.GenerateImageRequest:
    """Return a request without the fields that the client itself has filled in."""
    assert request.HasField("seed")
    assert request.request_id
    given = pb.GenerateImageRequest()
    given.CopyFrom(request)
    given.ClearField("request_id")
    given.ClearField("linger_duration")
    if not seed_is_given:
        given.ClearField("seed")
    return given


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(value * 1e9))
    return duration


def numbered(*events: pb.GenerateImageResponse) -> list[pb.GenerateImageResponse]:
    """Give events the request's id and the indices of their order."""
    for index, event in enumerate(events):
        event.request_id = REQUEST_ID
        event.event_index = index
    return list(events)


def queued(position: int = 2, wait_s: float | None = 1.5) -> pb.GenerateImageResponse:
    wait = None if wait_s is None else seconds(wait_s)
    return pb.GenerateImageResponse(
        queued=pb.Queued(position=position, expected_wait_duration=wait)
    )


def text_encoded() -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(text_encoded=pb.TextEncoded(token_count=9))


def progress(
    step: int, total: int = 2, image_index: int = 0, preview: bytes = b""
) -> pb.GenerateImageResponse:
    picture = pb.Preview(data=preview, format=pb.OUTPUT_FORMAT_JPEG, width_px=8, height_px=8)
    return pb.GenerateImageResponse(
        denoise_progress=pb.DenoiseProgress(
            image_index=image_index,
            step=step,
            total_steps=total,
            timestep=999.0,
            sigma=14.5,
            elapsed_duration=seconds(0.25 * step),
            remaining_duration=seconds(0.25 * (total - step)),
            batch_rows=3,
            preview=picture if preview else None,
        )
    )


def image(
    data: bytes, image_index: int = 0, *, chunked: bool = False, size_bytes: int | None = None
) -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(
        image=pb.Image(
            image_index=image_index,
            seed=7 + image_index,
            format=pb.OUTPUT_FORMAT_PNG,
            width_px=64,
            height_px=32,
            size_bytes=len(data) if size_bytes is None else size_bytes,
            data=b"" if chunked else data,
        )
    )


def chunks(
    data: bytes, cuts: Sequence[int], image_index: int = 0
) -> list[pb.GenerateImageResponse]:
    """Cut `data` at the offsets `cuts` into image_chunk events."""
    bounds = [0, *cuts, len(data)]
    return [
        pb.GenerateImageResponse(
            image_chunk=pb.ImageChunk(
                image_index=image_index,
                offset_bytes=start,
                data=data[start:end],
                last=number == len(bounds) - 2,
            )
        )
        for number, (start, end) in enumerate(itertools.pairwise(bounds))
    ]


def summary(image_count: int = 1, warnings: Sequence[pb.Warning] = ()) -> pb.GenerateImageResponse:
    return pb.GenerateImageResponse(
        summary=pb.Summary(
            warnings=warnings,
            model="tiny",
            model_revision="abc",
            width_px=64,
            height_px=32,
            num_inference_steps=2,
            guidance_scale=1.5,
            solver=pb.SOLVER_EULER,
            bill=pb.Bill(
                queue_duration=seconds(0.5),
                text_encode_duration=seconds(0.25),
                total_duration=seconds(3.75),
                images=[
                    pb.ImageBill(
                        image_index=index,
                        steps=[pb.StepBill(duration=seconds(1), batch_rows=3)] * 2,
                        vae_decode_duration=seconds(0.5),
                        image_encode_duration=seconds(0.125),
                        denoiser_replica="denoiser#0",
                    )
                    for index in range(image_count)
                ],
            ),
        )
    )


def whole_script(
    data: bytes = b"pixels", *, warnings: Sequence[pb.Warning] = ()
) -> list[pb.GenerateImageResponse]:
    """Script a generation of one image in two steps that goes well."""
    return numbered(
        queued(),
        text_encoded(),
        progress(1, preview=b"rough"),
        progress(2, preview=b"finer"),
        image(data),
        summary(warnings=warnings),
    )


def model(
    name: str = "tiny",
    *,
    is_default: bool = True,
    files_present: bool = True,
    known_words: Sequence[str] = (),
) -> model_pb.Model:
    return model_pb.Model(
        name=name,
        description="a model [small] for tests",
        state=model_pb.MODEL_STATE_READY if is_default else model_pb.MODEL_STATE_UNAVAILABLE,
        unavailable_reason="" if is_default else "start the server with --model other",
        is_default=is_default,
        license="Apache-2.0",
        default_width_px=64,
        default_height_px=32,
        min_size_px=32,
        max_size_px=128,
        size_multiple_px=8,
        default_num_inference_steps=4,
        min_num_inference_steps=1,
        max_num_inference_steps=8,
        default_guidance_scale=0.0,
        min_guidance_scale=0.0,
        max_guidance_scale=7.5,
        solvers=[pb.SOLVER_EULER, pb.SOLVER_EULER_ANCESTRAL],
        output_formats=[pb.OUTPUT_FORMAT_PNG, pb.OUTPUT_FORMAT_WEBP],
        max_image_count=4,
        max_prompt_tokens=77,
        previews=True,
        files_present=files_present,
        known_words=known_words,
    )
