"""Where tensors of a request lie in shared memory, by their parameters; placing outputs there."""

from collections.abc import Mapping

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.shared_memory import HeldRegions, Slice
from leyden_server.gateway.parsing import invalid

__all__ = ["place", "slice_of"]

Tensor = pb.ModelInferRequest.InferInputTensor | pb.ModelInferRequest.InferRequestedOutputTensor

REGION, OFFSET, BYTE_SIZE = (
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
)


def slice_of(tensor: Tensor) -> Slice | None:
    """Return where an input or a requested output lies; None: in the message itself.

    Raises:
        InvalidRequestError: its parameters do not say it whole.

    """
    parameters = tensor.parameters
    if not any(name in parameters for name in (REGION, OFFSET, BYTE_SIZE)):
        return None
    for name, choice in (
        (REGION, "string_param"),
        (BYTE_SIZE, "int64_param"),
        (OFFSET, "int64_param"),
    ):
        given = parameters[name].WhichOneof("parameter_choice") if name in parameters else None
        if given != choice and not (name == OFFSET and given is None):
            raise invalid(tensor.name, f"its parameter {name} must be {choice}; got {given}")
    return Slice(
        tensor=tensor.name,
        region=parameters[REGION].string_param,
        offset=parameters[OFFSET].int64_param if OFFSET in parameters else 0,
        byte_size=parameters[BYTE_SIZE].int64_param,
    )


def place(message: pb.ModelInferResponse, regions: Mapping[str, Slice], held: HeldRegions) -> None:
    """Move those outputs of a response that are wanted in regions there.

    The response keeps an empty raw entry for each, as clients that read by position need.

    Raises:
        InvalidRequestError: an output is larger than what was given for it.

    """
    for index, output in enumerate(message.outputs):
        if output.name in regions:
            held.write(regions[output.name], message.raw_output_contents[index])
            message.raw_output_contents[index] = b""
