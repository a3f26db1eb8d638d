"""A whole server in this process's Ray, with what the tests look at from outside and inside."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status
from numpy.typing import NDArray
from PIL import Image
from ray import serve
from support.patience import PATIENCE_S

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden.v1 import model_service_pb2_grpc as model_grpc
from leyden_server.controller.in_process import InProcessServer
from leyden_server.controller.in_process_stages import InProcessStages
from leyden_server.controller.launcher import LeydenServer
from leyden_server.stages.contract import EngineStats

__all__ = ["Reply", "RunningServer", "details_of", "eventually"]


@dataclass
class Reply:
    """All events of one generation."""

    events: list[pb.GenerateImageResponse]
    received_s: list[float] = field(default_factory=list)

    def of(self, kind: str) -> list[Any]:
        """Return the events of one kind, in order."""
        return [getattr(e, kind) for e in self.events if e.WhichOneof("event") == kind]

    @property
    def summary(self) -> pb.Summary:
        """Return the last event."""
        summary = self.events[-1].summary
        assert self.events[-1].WhichOneof("event") == "summary"
        return summary

    def image_bytes(self, index: int = 0) -> bytes:
        """Return one image, put together where it came in chunks."""
        announced = next(i for i in self.of("image") if i.image_index == index)
        chunks = [c.data for c in self.of("image_chunk") if c.image_index == index]
        data: bytes = announced.data or b"".join(chunks)
        assert len(data) == announced.size_bytes
        return data

    def pixels(self, index: int = 0) -> NDArray[np.uint8]:
        """Return one image's pixels (H, W, 3)."""
        import io

        return np.asarray(Image.open(io.BytesIO(self.image_bytes(index))))


class RunningServer:
    """A server and a channel to it."""

    def __init__(self, server: LeydenServer | InProcessServer) -> None:
        self._server = server
        self.address = server.address
        self.request_log = server.request_log
        self.metrics_url = server.metrics_url
        # Any: grpc-stubs do not know that a call is also an iterator and can be cancelled.
        self.channel: Any = grpc.insecure_channel(server.address)
        self.images: Any = pb_grpc.ImageGenerationServiceStub(self.channel)
        self.models = model_grpc.ModelServiceStub(self.channel)

    def generate(self, *, timeout: float | None = 120, **fields: Any) -> Reply:
        """Generate and return all events; raises grpc.RpcError."""
        reply = Reply([])
        for event in self.images.GenerateImage(request(**fields), timeout=timeout):
            reply.events.append(event)
            reply.received_s.append(time.monotonic())
        return reply

    def engine_stats(self, model: str) -> EngineStats:
        """Return the counters of a model's Denoiser."""
        name = f"leyden-denoiser-{model}"
        if isinstance(self._server, InProcessServer):
            stats: EngineStats = self._server.ask(lambda stages: stages.denoisers[name].stats())
        else:
            handle = serve.get_deployment_handle("Denoiser", name)
            stats = handle.stats.remote().result(timeout_s=PATIENCE_S)
        return stats

    def decoder_calls(self, application: str) -> int:
        """Return how many images a Vae was asked for."""
        return self._of_vae(application, "calls")

    def tile_runs(self, application: str) -> int:
        """Return how often a Vae ran for parts of a large image."""
        return self._of_vae(application, "tile_runs")

    def _of_vae(self, application: str, counter: str) -> int:
        if isinstance(self._server, InProcessServer):

            async def read(stages: InProcessStages) -> int:
                service = (await stages.vaes[application].services())[0]
                found: int = getattr(service, counter)
                return found

            return self._server.ask(read)
        handle = serve.get_deployment_handle("Vae", application)
        count: int = getattr(handle, counter).remote().result(timeout_s=PATIENCE_S)
        return count


def request(**fields: Any) -> pb.GenerateImageRequest:
    """Return a request; its prompt has a default."""
    return pb.GenerateImageRequest(**{"prompt": "a lake at dawn", **fields})


def details_of(error: grpc.RpcError) -> dict[type[Message], Any]:
    """Return the google.rpc details of an error by their type, each type once."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, f"no details on {error}"
    found: dict[type[Message], Any] = {}
    for packed in status.details:
        for kind in (ErrorInfo, BadRequest, RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                assert kind not in found
                found[kind] = kind.FromString(packed.value)
    return found


def eventually(
    condition: Callable[[], object],
    timeout_s: float = PATIENCE_S,
    *,
    clock: Callable[[], float] = time.monotonic,
    every_s: float = 0.02,
) -> None:
    """Look until `condition` holds; AssertionError where it does not within the time.

    `clock` may be another one than the wall's: the CPU time of what is waited for gives it the
    same chance on a busy machine.
    """
    deadline = clock() + timeout_s
    while not condition():
        assert clock() < deadline, f"did not come true within {timeout_s} s"
        time.sleep(every_s)
