"""From a status to a typed error."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2
from support.scripted_server import (
    Fail,
    Hold,
    ScriptedServer,
    numbered,
    queued,
    seconds,
    whole_script,
)

import leyden_client
from leyden_client import (
    Client,
    DeadlineExceededError,
    FieldViolation,
    GenerationCancelledError,
    GenerationNotFoundError,
    InternalError,
    InvalidArgumentError,
    MessageTooLargeError,
    ModelLoadError,
    ModelsManagedError,
    NoResourcesError,
    OutOfMemoryError,
    OverloadedError,
    ReaderTooSlowError,
    RpcError,
    errors,
)
from leyden_client._status import error_of_call

CLASS_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: "InvalidArgumentError",
    grpc.StatusCode.NOT_FOUND: "NotFoundError",
    grpc.StatusCode.OUT_OF_RANGE: "EventsExpiredError",
    grpc.StatusCode.FAILED_PRECONDITION: "FailedPreconditionError",
    grpc.StatusCode.ALREADY_EXISTS: "AlreadyExistsError",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "OverloadedError",
    grpc.StatusCode.UNAVAILABLE: "UnavailableError",
    grpc.StatusCode.UNAUTHENTICATED: "UnauthenticatedError",
    grpc.StatusCode.PERMISSION_DENIED: "PermissionDeniedError",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DeadlineExceededError",
    grpc.StatusCode.CANCELLED: "GenerationCancelledError",
    grpc.StatusCode.INTERNAL: "InternalError",
    grpc.StatusCode.UNKNOWN: "RpcError",
    grpc.StatusCode.DATA_LOSS: "RpcError",
}


@pytest.mark.parametrize(("code", "name"), CLASS_OF_CODE.items(), ids=str)
def test_each_code_has_its_class(
    server: ScriptedServer, client: Client, code: grpc.StatusCode, name: str
) -> None:
    info = error_details_pb2.ErrorInfo(reason="BECAUSE", metadata={"key": "value"})
    server.script = [Fail(code, "in words", [info])]
    with pytest.raises(RpcError) as caught:
        client.generate_image("a prompt")
    error = caught.value
    assert type(error) is getattr(leyden_client, name)
    assert (error.code, error.message, error.reason) == (code, "in words", "BECAUSE")
    assert error.metadata == {"key": "value"}
    assert error.violations == ()
    assert error.retry_after_s is None


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, "GENERATION_NOT_FOUND", GenerationNotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_LOAD_FAILED", ModelLoadError),
        (grpc.StatusCode.FAILED_PRECONDITION, "MANAGED_BY_SERVE_CONFIG", ModelsManagedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_RESOURCES", NoResourcesError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", OutOfMemoryError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "READER_TOO_SLOW", ReaderTooSlowError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", OverloadedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", OverloadedError),
    ],
)
def test_a_reason_tells_the_kinds_of_one_code_apart(
    server: ScriptedServer,
    client: Client,
    code: grpc.StatusCode,
    reason: str,
    kind: type[RpcError],
) -> None:
    server.watch_script = [Fail(code, "in words", [error_details_pb2.ErrorInfo(reason=reason)])]
    with pytest.raises(RpcError) as caught:
        list(client.watch("mine"))
    assert type(caught.value) is kind


def test_a_message_over_the_limit_is_no_overload(server: ScriptedServer) -> None:
    server.script = whole_script(bytes(3000))
    options = [("grpc.max_receive_message_length", 2000)]
    with (
        Client(server.target, channel_options=options) as client,
        pytest.raises(MessageTooLargeError, match="larger than max"),
    ):
        client.generate_image("a prompt")


def test_fields_that_are_wrong(server: ScriptedServer, client: Client) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="width_px", description="must be a multiple of 8"
    )
    details = error_details_pb2.BadRequest(field_violations=[violation])
    server.script = [Fail(grpc.StatusCode.INVALID_ARGUMENT, "1 wrong field", [details])]
    with pytest.raises(InvalidArgumentError) as caught:
        client.generate_image("a prompt")
    assert caught.value.violations == (FieldViolation("width_px", "must be a multiple of 8"),)
    assert str(caught.value) == "1 wrong field\n  width_px: must be a multiple of 8"


def test_when_to_try_again(server: ScriptedServer, client: Client) -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=seconds(2.5))
    server.script = [*numbered(queued()), Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", [retry])]
    with pytest.raises(OverloadedError) as caught:
        client.generate_image("a prompt")
    assert caught.value.retry_after_s == 2.5


def test_the_id_of_a_defect(server: ScriptedServer, client: Client) -> None:
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", metadata={"error_id": "e-1"})
    server.script = [Fail(grpc.StatusCode.INTERNAL, "a defect", [info])]
    with pytest.raises(InternalError) as caught:
        client.generate_image("a prompt")
    assert caught.value.error_id == "e-1"


def test_details_that_cannot_be_read_hide_nothing() -> None:
    broken = grpc.aio.AioRpcError(
        grpc.StatusCode.NOT_FOUND,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff")),
        "no such model",
        None,
    )
    error = error_of_call(broken)
    assert type(error) is leyden_client.NotFoundError
    assert (error.message, error.reason) == ("no such model", "")


def test_the_timeout(server: ScriptedServer, client: Client) -> None:
    server.script = [Hold()]
    with pytest.raises(DeadlineExceededError, match=r"the timeout of 0\.2 s passed"):
        client.generate_image("a prompt", timeout_s=0.2)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, errors.LeydenError):
            assert name in (errors.__doc__ or "")
            assert name in leyden_client.__all__
    assert not issubclass(GenerationCancelledError, TimeoutError)
