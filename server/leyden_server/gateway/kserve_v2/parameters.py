"""The parameters of a request: priority, timeout, and which are refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.parsing import invalid

__all__ = ["RequestParameters", "request_parameters"]

EMPTY_FINAL = "triton_enable_empty_final_response"
MAX_NAME_CHARS = 100
"""Of a name in an error, which gRPC carries as metadata of 8 KiB at most."""

SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True, slots=True)
class RequestParameters:
    """What a request's parameters come to."""

    priority: int
    """As the native field has it: 0 is the default."""
    timeout_s: float | None
    """From the request's acceptance to the whole answer; None: no limit of its own."""
    wants_empty_final: bool
    """Whether a stream's last response is to be one without outputs."""


def request_parameters(parameters: Mapping[str, pb.InferParameter]) -> RequestParameters:
    """Read them. Those that are a client's own, for models that want them, mean nothing here.

    Raises:
        InvalidRequestError: one is reserved, or has a value that it cannot have.

    """
    for name in SEQUENCE:
        if name in parameters:
            raise invalid(name, "there are no sequences here: each request stands for itself")
    for name, parameter in parameters.items():
        if name.startswith("triton_") and name != EMPTY_FINAL:
            raise invalid(
                name[:MAX_NAME_CHARS],
                f"names that begin with triton_ are reserved; of them {EMPTY_FINAL} is taken",
            )
        if parameter.WhichOneof("parameter_choice") is None:
            raise invalid(name[:MAX_NAME_CHARS], "has no value")
    return RequestParameters(
        priority=_priority(parameters),
        timeout_s=_timeout_s(parameters),
        wants_empty_final=_wants_empty_final(parameters),
    )


def _priority(parameters: Mapping[str, pb.InferParameter]) -> int:
    if "priority" not in parameters:
        return 0
    value = _integer("priority", parameters["priority"], "int64_param", "uint64_param")
    if value < 0:
        raise invalid("priority", f"1 (first) to 9, or 0 for the default; got {value}")
    return value


def _timeout_s(parameters: Mapping[str, pb.InferParameter]) -> float | None:
    if "timeout" not in parameters:
        return None
    microseconds = _integer("timeout", parameters["timeout"], "int64_param")
    return microseconds / 1e6 if microseconds > 0 else None


def _wants_empty_final(parameters: Mapping[str, pb.InferParameter]) -> bool:
    if EMPTY_FINAL not in parameters:
        return False
    parameter = parameters[EMPTY_FINAL]
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise invalid(EMPTY_FINAL, "must be a bool_param")
    return parameter.bool_param


def _integer(name: str, parameter: pb.InferParameter, *choices: str) -> int:
    choice = parameter.WhichOneof("parameter_choice")
    if choice not in choices:
        raise invalid(name, f"must be {' or '.join(choices)}; got {choice}")
    value: int = getattr(parameter, choice)
    return value
