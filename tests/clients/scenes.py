"""What the harness itself does with a server, by plain stubs: before, beside and after an ask."""

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from clients.cases import Meanwhile
from clients.scripting import told_state
from clients.servers import NOISE, Certificates, Server
from google.protobuf import duration_pb2, json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.breaking_proxy import TcpProxy

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden.v1 import model_service_pb2 as model_pb
from leyden.v1 import model_service_pb2_grpc as model_pb_grpc

__all__ = ["House", "as_request", "spend"]

TIMEOUT_S = 120.0
"""For what takes seconds: it ends a hang, and nothing is judged by it."""


def as_request(fields: Mapping[str, Any], linger_s: float = 0) -> pb.GenerateImageRequest:
    """Return the message of a request as asks and `before` write it."""
    fields = dict(fields)
    if fields.pop("preview", False):
        fields["preview"] = {}
    if "output_format" in fields:
        fields["output_format"] = f"OUTPUT_FORMAT_{fields['output_format']}"
    request = json_format.ParseDict(fields, pb.GenerateImageRequest())
    if linger_s:
        request.linger_duration.CopyFrom(duration_pb2.Duration(seconds=int(linger_s)))
    return request


def spend(server: Server, certificates: Certificates) -> None:
    """Use up the images that the key `spent` may ask for in several minutes, if it has any."""
    credentials = grpc.ssl_channel_credentials(certificates.file("ours.pem").read_bytes())
    with grpc.secure_channel(server.address, credentials) as channel:
        images: Any = pb_grpc.ImageGenerationServiceStub(channel)
        request = as_request(
            {"prompt": "a lake", "image_count": 8, "width_px": 64, "height_px": 64}
        )
        metadata = [("authorization", f"Bearer {certificates.keys['spent']}")]
        try:
            list(images.GenerateImage(request, timeout=TIMEOUT_S, metadata=metadata))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise


class House:
    """A server without keys, as the harness uses it."""

    def __init__(self, server: Server) -> None:
        """Connect to it."""
        self._address = server.address
        self._channel = grpc.insecure_channel(server.address)
        # Any: grpc-stubs do not know that a call is an iterator and can be cancelled.
        self._images: Any = pb_grpc.ImageGenerationServiceStub(self._channel)
        self._models = model_pb_grpc.ModelServiceStub(self._channel)
        self._files: dict[str, list[str]] = {}

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def files(self, fields: Mapping[str, Any]) -> list[str]:
        """Return the SHA-256 of each file that a request gives, by the index of its image.

        It is sent once, alone, by a name of its own.
        """
        said = json.dumps(fields, sort_keys=True)
        if said not in self._files:
            request = as_request({**fields, "request_id": str(uuid.uuid4())})
            data = [bytearray() for _ in range(request.image_count or 1)]
            for event in self._images.GenerateImage(request, timeout=TIMEOUT_S):
                for part in (event.image, event.image_chunk):
                    data[part.image_index] += part.data
            self._files[said] = [hashlib.sha256(file).hexdigest() for file in data]
        return self._files[said]

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep the server from ending, though it drains: by a stream that nobody reads.

        Its images are more than gRPC buffers, so that it is not done; nothing is computed.
        """
        fields = {"prompt": "a lake", "model": NOISE, "seed": "1", "image_count": 8}
        large = {"num_inference_steps": 1, "width_px": 1216, "height_px": 1216}
        call = self._images.GenerateImage(as_request({**fields, **large}))
        try:
            next(call)
            yield
        finally:
            call.cancel()

    def wait_until_draining(self) -> None:
        """Return once the server takes nothing new, as its health says."""
        # By a connection of its own: the one of the stream that nobody reads has no room left.
        own = (("grpc.use_local_subchannel_pool", 1),)
        with grpc.insecure_channel(self._address, options=own) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
            )
            for health in watch:
                if health.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    break

    @contextmanager
    def before(self, requests: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """Send requests; those with `wait: false` go on, and are cancelled at the end.

        With `cancel: false` too, they go on to their own end.
        """
        left: list[str] = []
        try:
            for entry in requests:
                fields = dict(entry)
                linger_s = fields.pop("linger_s", 600)
                waits, cancels = fields.pop("wait", True), fields.pop("cancel", True)
                request = as_request(fields, linger_s)
                if cancels and not waits:
                    left.append(request.request_id)
                call = self._images.GenerateImage(request, timeout=TIMEOUT_S)
                for event in call:
                    if not waits and event.WhichOneof("event") == "denoise_progress":
                        call.cancel()
                        break
            yield
        finally:
            for request_id in left:
                self.cancel(request_id)

    def cancel(self, request_id: str) -> None:
        """End a generation, if it is there."""
        try:
            request = pb.CancelGenerationRequest(request_id=request_id)
            self._images.CancelGeneration(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    def model_states(self) -> dict[str, str]:
        """Return the state of each model, by its name."""
        models = self._models.ListModels(model_pb.ListModelsRequest(), timeout=TIMEOUT_S).models
        prefix = "MODEL_STATE_"
        return {
            model.name: model_pb.ModelState.Name(model.state).removeprefix(prefix)
            for model in models
        }

    def state(self) -> dict[str, Any]:
        """Return the server's state, as a runner tells it."""
        request = model_pb.GetServerStateRequest()
        return told_state(self._models.GetServerState(request, timeout=TIMEOUT_S))

    def is_known(self, request_id: str) -> bool:
        """Tell whether the server has a generation of that name."""
        call = self._images.WatchGeneration(pb.WatchGenerationRequest(request_id=request_id))
        try:
            next(call)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.NOT_FOUND
        finally:
            call.cancel()
        return True

    @contextmanager
    def meanwhile(
        self, what: Meanwhile | None, request_id: str, proxy: TcpProxy | None, other: str
    ) -> Iterator[None]:
        """Do `what` once it is time, while the block runs; `other` is another server's address."""
        if what is None:
            yield
            return
        over = threading.Event()
        failures: list[Exception] = []
        scene = threading.Thread(
            target=self._do, args=(what, request_id, proxy, other, over, failures)
        )
        scene.start()
        try:
            yield
        finally:
            over.set()
            scene.join()
        if failures:
            raise failures[0]

    def _do(
        self,
        what: Meanwhile,
        request_id: str,
        proxy: TcpProxy | None,
        other: str,
        over: threading.Event,
        failures: list[Exception],
    ) -> None:
        try:
            if not self._sees(what, request_id, over):
                failures.append(TimeoutError("the client was done before it was time"))
                return
            if what.do == "cancel":
                self.cancel(request_id)
                return
            assert proxy is not None
            if what.do == "cut_and_forget":
                proxy.redirect(other)
            proxy.cut()
            if what.do == "cut_and_forget":
                self.cancel(request_id)
        except Exception as error:  # noqa: BLE001 - it is raised where the scene was asked for
            failures.append(error)

    def _sees(self, what: Meanwhile, request_id: str, over: threading.Event) -> bool:
        """Wait until as many events of the kind were sent; False: `over` was set before."""
        request = pb.WatchGenerationRequest(request_id=request_id)
        while not over.is_set():
            seen = 0
            try:
                for event in self._images.WatchGeneration(request, timeout=TIMEOUT_S):
                    seen += event.WhichOneof("event") == what.after
                    if seen >= what.count:
                        return True
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            over.wait(0.02)  # until the client has begun
        return False
