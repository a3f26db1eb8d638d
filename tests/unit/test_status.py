"""The table from errors to the wire, and errors across a pickle."""

import inspect
import pickle

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from leyden_server import errors
from leyden_server.errors import (
    CancelledByRequestError,
    DeadlineExceededError,
    EventsExpiredError,
    FieldViolation,
    GenerationNotFoundError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    ModelNotLoadedError,
    ModelsManagedError,
    ModelVersionNotFoundError,
    NoRequestError,
    NoResourcesError,
    OutOfMemoryError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    ReaderTooSlowError,
    RegionExistsError,
    RegionInUseError,
    RegionNotFoundError,
    RequestError,
    RequestIdInUseError,
    StageFailedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)
from leyden_server.gateway.status import DETAILS_KEY, WireError, to_wire

VIOLATIONS = (
    FieldViolation("width_px", "a multiple of 8 from 64 to 256; got 65"),
    FieldViolation("prompt", "must not be empty"),
)
TABLE: list[tuple[RequestError, grpc.StatusCode, str, dict[str, str], set[type[Message]]]] = [
    (
        InvalidRequestError(VIOLATIONS),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        {},
        {ErrorInfo, BadRequest},
    ),
    (
        ModelNotFoundError("sdlx", ("sdxl", "turbo")),
        grpc.StatusCode.NOT_FOUND,
        "MODEL_NOT_FOUND",
        {"model": "sdlx", "models": "sdxl,turbo"},
        {ErrorInfo},
    ),
    (
        ModelNotLoadedError("sdxl", "unet.safetensors is missing"),
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_NOT_LOADED",
        {"model": "sdxl", "missing": "unet.safetensors is missing"},
        {ErrorInfo},
    ),
    (
        ModelVersionNotFoundError("sdxl", "7"),
        grpc.StatusCode.NOT_FOUND,
        "MODEL_VERSION_NOT_FOUND",
        {"model": "sdxl", "version": "7"},
        {ErrorInfo},
    ),
    (
        NoRequestError(),
        grpc.StatusCode.INVALID_ARGUMENT,
        "NO_REQUEST_MESSAGE",
        {},
        {ErrorInfo},
    ),
    (
        UnsupportedError("tensors in GPU memory are not taken"),
        grpc.StatusCode.UNIMPLEMENTED,
        "UNSUPPORTED",
        {},
        {ErrorInfo},
    ),
    (
        ModelLoadError("sdxl", "unet.safetensors: conv_in.bias: holds NaN"),
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_LOAD_FAILED",
        {"model": "sdxl", "why": "unet.safetensors: conv_in.bias: holds NaN"},
        {ErrorInfo},
    ),
    (
        NoResourcesError("sdxl", "0.6 GPU are needed and 0.1 are free"),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "NO_RESOURCES",
        {"model": "sdxl", "why": "0.6 GPU are needed and 0.1 are free"},
        {ErrorInfo},
    ),
    (
        ModelsManagedError(),
        grpc.StatusCode.FAILED_PRECONDITION,
        "MANAGED_BY_SERVE_CONFIG",
        {},
        {ErrorInfo},
    ),
    (
        RequestIdInUseError("cat-1"),
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_IN_USE",
        {"request_id": "cat-1"},
        {ErrorInfo},
    ),
    (
        GenerationNotFoundError("cat-2"),
        grpc.StatusCode.NOT_FOUND,
        "GENERATION_NOT_FOUND",
        {"request_id": "cat-2"},
        {ErrorInfo},
    ),
    (
        EventsExpiredError("cat-3"),
        grpc.StatusCode.OUT_OF_RANGE,
        "EVENTS_EXPIRED",
        {"request_id": "cat-3"},
        {ErrorInfo},
    ),
    (
        RegionNotFoundError("in"),
        grpc.StatusCode.NOT_FOUND,
        "REGION_NOT_FOUND",
        {"region": "in"},
        {ErrorInfo},
    ),
    (
        RegionExistsError("in"),
        grpc.StatusCode.ALREADY_EXISTS,
        "REGION_EXISTS",
        {"region": "in"},
        {ErrorInfo},
    ),
    (
        RegionInUseError(("in", "out")),
        grpc.StatusCode.FAILED_PRECONDITION,
        "REGION_IN_USE",
        {},
        {ErrorInfo},
    ),
    (
        UnauthenticatedError(),
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
        {},
        {ErrorInfo},
    ),
    (
        PermissionDeniedError("OPERATOR_ONLY", "not for you", {"method": "LoadModel"}),
        grpc.StatusCode.PERMISSION_DENIED,
        "OPERATOR_ONLY",
        {"method": "LoadModel"},
        {ErrorInfo},
    ),
    (
        QuotaExceededError("RATE_LIMITED", "later", {"images_per_minute": "60"}, 2.5),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        {"images_per_minute": "60"},
        {ErrorInfo, RetryInfo},
    ),
    (
        OutOfMemoryError("denoiser"),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "OUT_OF_MEMORY",
        {},
        {ErrorInfo},
    ),
    (
        ReaderTooSlowError("nothing was read for 30 s", {"write_timeout_s": "30"}),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "READER_TOO_SLOW",
        {"write_timeout_s": "30"},
        {ErrorInfo},
    ),
    (
        CancelledByRequestError(),
        grpc.StatusCode.CANCELLED,
        "CANCELLED_BY_REQUEST",
        {},
        {ErrorInfo},
    ),
    (
        StageFailedError("denoiser", "RuntimeError: boom", "0b5e"),
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        {"error_id": "0b5e"},
        {ErrorInfo},
    ),
    (
        OverloadedError("QUEUE_FULL", "no room", {"max_waiting_images": "64"}, 2.5),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUEUE_FULL",
        {"max_waiting_images": "64"},
        {ErrorInfo, RetryInfo},
    ),
    (
        DeadlineExceededError(),
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        {},
        {ErrorInfo},
    ),
    (
        UnavailableError("DRAINING", "the server is shutting down", 5.0),
        grpc.StatusCode.UNAVAILABLE,
        "DRAINING",
        {},
        {ErrorInfo, RetryInfo},
    ),
]
DETAIL_TYPES: dict[str, type[Message]] = {
    "google.rpc.ErrorInfo": ErrorInfo,
    "google.rpc.BadRequest": BadRequest,
    "google.rpc.RetryInfo": RetryInfo,
}


def details_of(wire: WireError) -> tuple[Status, list[Message]]:
    assert DETAILS_KEY == "grpc-status-details-bin"
    data = dict(wire.trailing_metadata())[DETAILS_KEY]
    assert isinstance(data, bytes)
    status = Status.FromString(data)
    details = []
    for packed in status.details:
        detail = DETAIL_TYPES[packed.TypeName()]()
        assert packed.Unpack(detail)
        details.append(detail)
    return status, details


def test_the_table_has_every_request_error() -> None:
    known = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, RequestError) and kind is not RequestError
    }
    assert known == {type(error) for error, *_ in TABLE}


@pytest.mark.parametrize(
    ("error", "code", "reason", "metadata", "types"),
    TABLE,
    ids=[type(error).__name__ for error, *_ in TABLE],
)
def test_each_error_has_its_code_and_details(
    error: RequestError,
    code: grpc.StatusCode,
    reason: str,
    metadata: dict[str, str],
    types: set[type[Message]],
) -> None:
    wire = to_wire(error)
    status, details = details_of(wire)

    assert wire.code is code
    assert status.code == code.value[0]
    assert wire.message == status.message
    if isinstance(error, StageFailedError):
        assert error.text not in wire.message, "its text is the operator's"
    else:
        assert wire.message == str(error)
    assert {type(detail) for detail in details} == types
    assert len(details) == len(types)
    (info,) = [detail for detail in details if isinstance(detail, ErrorInfo)]
    assert (info.reason, info.domain) == (reason, "leyden")
    assert dict(info.metadata) == metadata


def test_each_wrong_field_is_a_violation() -> None:
    _, details = details_of(to_wire(InvalidRequestError(VIOLATIONS)))
    (bad,) = [detail for detail in details if isinstance(detail, BadRequest)]

    assert [(v.field, v.description) for v in bad.field_violations] == [
        (v.field, v.description) for v in VIOLATIONS
    ]


@pytest.mark.parametrize(
    ("error", "pushback_ms"),
    [
        (OverloadedError("X", "x", {}, 2.5), "2500"),
        (UnavailableError("X", "x", 2.5), "2500"),
        (QuotaExceededError("X", "x", {}, 2.5), "2500"),
        (QuotaExceededError("X", "x", {}, None), "-1"),
        (OutOfMemoryError("denoiser"), "-1"),
        (ReaderTooSlowError("x", {}), "-1"),
        (StageFailedError("denoiser", "x", "0b5e"), None),
        (UnauthenticatedError(), None),
    ],
)
def test_grpcs_own_retries_are_told_as_well(error: RequestError, pushback_ms: str | None) -> None:
    trailing = dict(to_wire(error).trailing_metadata())
    assert trailing.get("grpc-retry-pushback-ms") == pushback_ms


@pytest.mark.parametrize(
    "error", [OverloadedError("X", "x", {}, 2.5), UnavailableError("X", "x", 2.5)]
)
def test_a_later_try_is_told_when(error: RequestError) -> None:
    _, details = details_of(to_wire(error))
    (retry,) = [detail for detail in details if isinstance(detail, RetryInfo)]

    assert retry.retry_delay.ToMilliseconds() == 2500


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("/secret/path: CUDA error"),
        KeyError("secret"),
        Exception(),
        RequestError("secret: no case for it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_defect_is_internal_with_an_id_and_no_internals(error: Exception) -> None:
    wire, again = to_wire(error), to_wire(error)
    status, details = details_of(wire)
    (info,) = details
    assert isinstance(info, ErrorInfo)

    assert wire.code is grpc.StatusCode.INTERNAL
    assert info.reason == "INTERNAL"
    error_id = info.metadata["error_id"]
    assert len(error_id) >= 16
    assert error_id in status.message
    assert "secret" not in status.SerializeToString().decode("latin-1")
    assert error_id != again.metadata["error_id"]


@pytest.mark.parametrize("error", [error for error, *_ in TABLE], ids=lambda e: type(e).__name__)
def test_request_errors_survive_a_pickle(error: RequestError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error) != ""
    assert vars(copy) == vars(error)
    assert copy.args == error.args


def test_all_names_every_error() -> None:
    defined = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert set(errors.__all__) == defined
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in defined - {"FieldViolation"})
