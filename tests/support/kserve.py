"""A plain client of KServe v2, which codes tensors by itself: requests, and what responses say."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from support.patience import PATIENCE_S

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2_grpc as pb_grpc

__all__ = ["array", "infer_request", "parameters_of", "refusal", "stub_of"]

DATATYPES = {
    "prompt": "BYTES",
    "negative_prompt": "BYTES",
    "output_format": "BYTES",
    "seed": "INT64",
    "guidance_scale": "FP32",
}
NUMBERS = {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "UINT8": np.uint8}


def stub_of(channel: Any) -> Any:
    """Any: grpc-stubs do not know that a call is also an iterator and can be cancelled."""
    return pb_grpc.GRPCInferenceServiceStub(channel)


def infer_request(
    model: str,
    outputs: Iterable[str] = (),
    parameters: Mapping[str, Any] | None = None,
    request_id: str = "",
    **inputs: Any,
) -> pb.ModelInferRequest:
    """Return a request; an input is a value, or a sequence of one a row."""
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    for name, given in inputs.items():
        rows = given if isinstance(given, list | tuple) else [given]
        datatype = DATATYPES.get(name, "INT32")
        request.inputs.add(name=name, datatype=datatype, shape=[len(rows), 1])
        request.raw_input_contents.append(raw(datatype, rows))
    for name in outputs:
        request.outputs.add(name=name)
    for name, value in (parameters or {}).items():
        choice = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(request.parameters[name], choice, value)
    return request


def raw(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [v if isinstance(v, bytes) else str(v).encode() for v in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.array(values, NUMBERS[datatype]).tobytes()


def array(response: pb.ModelInferResponse, name: str) -> NDArray[Any] | None:
    """Return an output as tritonclient's `as_numpy` does; None: it is not there."""
    assert len(response.outputs) == len(response.raw_output_contents)
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name != name:
            continue
        if output.datatype == "BYTES":
            texts, position = [], 0
            while position < len(data):
                (size,) = struct.unpack_from("<I", data, position)
                texts.append(data[position + 4 : position + 4 + size])
                position += 4 + size
            return np.array(texts, object).reshape(output.shape)
        return np.frombuffer(data, NUMBERS[output.datatype]).reshape(output.shape)
    return None


def parameters_of(response: pb.ModelInferResponse) -> dict[str, Any]:
    """Return the parameters of a response, whatever their kinds."""
    return {
        name: getattr(value, str(value.WhichOneof("parameter_choice")))
        for name, value in response.parameters.items()
    }


def refusal(call: Any, *arguments: Any, **keywords: Any) -> Any:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, timeout=PATIENCE_S, **keywords)
    return raised.value
