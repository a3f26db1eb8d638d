"""Single calls over a connection that stays open, timed, with nothing of a client library between.

The blocking gRPC of Python, which answers sooner than `grpc.aio`: what is asked for here is less
than a millisecond.
"""

import struct
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as inference_pb

__all__ = ["PlainCalls"]

GENERATE = "/leyden.v1.ImageGenerationService/GenerateImage"
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
PROMPT = b"a lake"


class PlainCalls:
    """A connection to a server; a context manager for as long as it is open."""

    def __init__(self, address: str, model: str, steps: int, *, key: str = "") -> None:
        """Ask for images of `model` in so many steps, with an API key where one is given."""
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._model = model
        self._steps = steps
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def native_s(self) -> float:
        """Generate an image by leyden.v1; return the seconds until the stream's end."""
        return self._stream_s(GENERATE, self._native())

    def infer_s(self) -> float:
        """Generate an image by ModelInfer; return the seconds until the answer."""
        call = self._channel.unary_unary(INFER, None, None)
        began_s = time.perf_counter()
        call(self._inference(["image"]), metadata=self.metadata)
        return time.perf_counter() - began_s

    def stream_infer_s(self) -> float:
        """Generate an image by ModelStreamInfer, with its progress; return the seconds."""
        call: Any = self._channel.stream_stream(STREAM_INFER, None, None)
        began_s = time.perf_counter()
        answers = call(iter([self._inference(["image", "progress"])]), metadata=self.metadata)
        for answer in answers:
            assert not inference_pb.ModelStreamInferResponse.FromString(answer).error_message
        return time.perf_counter() - began_s

    def refused_s(self, reason: str, **fields: Any) -> float:
        """Ask by leyden.v1 for what is refused; return the seconds until it is.

        Raises RuntimeError where it is not refused, or for another reason.
        """
        request = self._native(**fields)
        began_s = time.perf_counter()
        try:
            self._stream_s(GENERATE, request)
        except grpc.RpcError as error:
            took_s = time.perf_counter() - began_s
            trailing: Any = dict(error.trailing_metadata())  # type: ignore[attr-defined]
            if reason.encode() not in trailing.get("grpc-status-details-bin", b""):
                raise RuntimeError(f"refused, and not as {reason}: {error}") from error
            return took_s
        raise RuntimeError(f"not refused: {reason} was expected")

    def _stream_s(self, method: str, request: bytes) -> float:
        call = self._channel.unary_stream(method, None, None)
        began_s = time.perf_counter()
        for _ in call(request, metadata=self.metadata):
            pass
        return time.perf_counter() - began_s

    def _native(self, **fields: Any) -> bytes:
        asked = {"model": self._model, "num_inference_steps": self._steps, **fields}
        return pb.GenerateImageRequest(prompt=PROMPT.decode(), **asked).SerializeToString()

    def _inference(self, outputs: Sequence[str]) -> bytes:
        request = inference_pb.ModelInferRequest(model_name=self._model)
        request.inputs.add(name="prompt", datatype="BYTES", shape=[1, 1])
        request.inputs.add(name="num_inference_steps", datatype="INT32", shape=[1, 1])
        request.raw_input_contents.append(struct.pack("<I", len(PROMPT)) + PROMPT)
        request.raw_input_contents.append(np.int32(self._steps).tobytes())
        for name in outputs:
            request.outputs.add(name=name)
        return request.SerializeToString()
