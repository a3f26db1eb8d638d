"""docs/clients.md names every error that reaches a client, with what it carries."""

import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import leyden_server
from leyden_server import errors
from leyden_server.gateway.status import DETAILS_KEY, to_wire

SERVER = Path(leyden_server.__file__).parent
PAGE = (SERVER.parents[1] / "docs" / "clients.md").read_text(encoding="utf-8")
ROWS = {
    cells[1]: cells
    for line in PAGE.splitlines()
    if re.match(r"\| [A-Z_]+ \| [A-Z_]+ \|", line)
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}
RAISED = [
    errors.InvalidRequestError((errors.FieldViolation("seed", "at least 0"),)),
    errors.NoRequestError(),
    errors.UnsupportedError("not here"),
    errors.ModelNotFoundError("a", ("b", "c")),
    errors.ModelVersionNotFoundError("a", "2"),
    errors.ModelLoadError("a", "holds NaN"),
    errors.NoResourcesError("a", "no GPU is free"),
    errors.ModelsManagedError(),
    errors.RegionNotFoundError("a"),
    errors.RegionExistsError("a"),
    errors.RegionInUseError(("a",)),
    errors.ModelNotLoadedError("a", "its files"),
    errors.RequestIdInUseError("r"),
    errors.GenerationNotFoundError("r"),
    errors.EventsExpiredError("r"),
    errors.UnauthenticatedError(),
    errors.PermissionDeniedError("OPERATOR_ONLY", "no", {"method": "LoadModel"}),
    errors.PermissionDeniedError("MODEL_NOT_ALLOWED", "no", {"model": "a", "models": "b"}),
    errors.QuotaExceededError("RATE_LIMITED", "later", {"images_per_minute": "60"}, 2.0),
    errors.QuotaExceededError("TOO_MANY_IN_ONE", "fewer", {"images_at_once": "2"}, None),
    errors.OverloadedError("QUEUE_FULL", "full", {"max_waiting_images": "64"}, 2.0),
    errors.OverloadedError("DEADLINE_CANNOT_BE_MET", "late", {"timeout_s": "1"}, 2.0),
    errors.OutOfMemoryError("denoiser"),
    errors.ReaderTooSlowError("slow", {"write_timeout_s": "30"}),
    errors.DeadlineExceededError(),
    errors.CancelledByRequestError(),
    errors.UnavailableError("MODEL_LOADING", "loading", 5.0),
    errors.ModelVersionNotFoundError("a", "7"),
    errors.ModelLoadError("a", "its files"),
    errors.NoResourcesError("a", "no GPU"),
    errors.ModelsManagedError(),
    errors.RegionNotFoundError("in"),
    errors.RegionExistsError("in"),
    errors.RegionInUseError(("in",)),
    errors.UnsupportedError("no"),
    errors.QuotaExceededError("TOO_MANY_CONNECTIONS", "one", {"max_connections_per_key": "2"}, 1.0),
    errors.StageFailedError("denoiser", "a defect", "id"),
    ValueError("a defect"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_the_table_has_the_error_as_it_is_on_the_wire(error: Exception) -> None:
    wire = to_wire(error)
    code, reason, details, metadata, _ = ROWS[wire.reason]

    packed = dict(wire.trailing_metadata())[DETAILS_KEY]
    assert isinstance(packed, bytes)
    names = [detail.TypeName() for detail in status_pb2.Status.FromString(packed).details]
    assert code == wire.code.name
    assert reason == wire.reason
    assert [name.removeprefix("google.rpc.") for name in names] == [
        "ErrorInfo",
        *([details] if details else []),
    ]
    if metadata != "the limit":
        assert set(re.findall(r"`(\w+)`", metadata)) == set(wire.metadata)


def test_every_kind_of_request_error_is_among_them() -> None:
    assert {type(error) for error in RAISED} >= set(errors.RequestError.__subclasses__())


def test_the_table_has_every_reason_that_the_server_gives() -> None:
    call = re.compile(
        r'(?:UnavailableError|OverloadedError|_overloaded|QuotaExceededError|PermissionDeniedError)\W+"([A-Z_]+)"'
    )
    given = {
        reason
        for file in SERVER.rglob("*.py")
        for reason in call.findall(file.read_text(encoding="utf-8"))
    }

    assert {"DRAINING", "MODEL_LOADING", "STAGE_STALLED"} <= given
    assert given <= set(ROWS)


def test_the_details_can_be_unpacked_by_the_protos_that_are_shipped() -> None:
    trailing = to_wire(errors.UnavailableError("DRAINING", "bye", 5.0)).trailing_metadata()
    packed = dict(trailing)[DETAILS_KEY]
    assert isinstance(packed, bytes)
    detail: any_pb2.Any = status_pb2.Status.FromString(packed).details[1]
    retry = error_details_pb2.RetryInfo()

    assert detail.Unpack(retry)
    assert retry.retry_delay.seconds == 5


def test_the_probes_and_the_route_are_yaml() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    route, probes = (yaml.safe_load(block) for block in blocks)

    assert route["routes"][0]["route"]["timeout"] == "0s"
    assert {name: probe["grpc"] for name, probe in probes.items()} == {
        "startupProbe": {"port": 8001, "service": "leyden.live"},
        "livenessProbe": {"port": 8001, "service": "leyden.live"},
        "readinessProbe": {"port": 8001},
    }
