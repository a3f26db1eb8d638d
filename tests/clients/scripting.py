"""A server that says what a case's script has: what no whole server does on demand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from clients.cases import Script, ScriptedError
from google.protobuf import json_format
from google.rpc import error_details_pb2
from support.scripted_server import Fail, Hold, ScriptedServer, seconds, serve, whole_script
from support.scripted_server import model as scripted_model

from leyden.v1 import model_service_pb2 as pb

__all__ = ["ScriptedHouse", "scripted_house", "told_state"]

MODEL = "tiny"


class ScriptedHouse:
    """A gRPC server of this process, and what it has heard since the last script began."""

    def __init__(self, server: ScriptedServer, calls: "_Calls") -> None:
        """Take a server that runs, and what hears its calls."""
        self._server = server
        self._calls = calls
        self.address = server.target

    def begin(self, script: Script) -> None:
        """Answer by this script from now on."""
        server = self._server
        failure = [_fail(script.fails)] if script.fails else []
        server.script = [*whole_script(bytes(script.data_bytes))[: script.events], *failure]
        server.load_fails = failure[0] if failure else None
        server.models = [scripted_model(MODEL)]
        server.state = json_format.ParseDict(dict(script.state), pb.GetServerStateResponse())
        # The event after those that came, where a connection broke; the rest is held back, so
        # that whoever leaves then leaves a generation that goes on.
        rest = whole_script(bytes(script.data_bytes))[script.events :]
        server.watch_script = [*rest[:1], Hold()]
        server.cancels.clear()
        self._calls.heard.clear()

    @property
    def cancels(self) -> list[str]:
        """The request_id of each CancelGeneration call."""
        return self._server.cancels

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The method of each call, and its `traceparent`."""
        return list(self._calls.heard)

    @property
    def state(self) -> dict[str, Any]:
        """What GetServerState answers, as a runner tells it."""
        return told_state(self._server.state)


class _Calls(grpc.ServerInterceptor):  # type: ignore[type-arg]  # it takes none at run time
    """Hears of every call before it is answered."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        metadata = dict(handler_call_details.invocation_metadata)
        method = handler_call_details.method.split("/")[-1]
        self.heard.append((method, metadata.get("traceparent", "")))
        return continuation(handler_call_details)


@contextmanager
def scripted_house() -> Iterator[ScriptedHouse]:
    """Run a scripted server on a free port of this machine."""
    scripted = ScriptedServer()
    calls = _Calls()
    server = serve(scripted, interceptors=[calls])
    try:
        yield ScriptedHouse(scripted, calls)
    finally:
        scripted.release()
        server.stop(grace=None).wait()


def _fail(error: ScriptedError) -> Fail:
    if not error.reason:
        return Fail(grpc.StatusCode[error.code], error.message)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain="leyden", metadata=dict(error.metadata)
    )
    retry = (
        [error_details_pb2.RetryInfo(retry_delay=seconds(error.retry_after_s))]
        if error.retry_after_s is not None
        else []
    )
    return Fail(grpc.StatusCode[error.code], error.message, [info, *retry])


def told_state(state: pb.GetServerStateResponse) -> dict[str, Any]:
    """Return a server's state as a runner tells it: README.md."""
    return {
        "stages": [
            {
                "name": stage.name,
                "kind": pb.StageKind.Name(stage.kind).removeprefix("STAGE_KIND_"),
                "models": list(stage.models),
                "running_replicas": stage.running_replicas,
                "wanted_replicas": stage.wanted_replicas,
                "running_count": stage.running_count,
                "waiting_count": stage.waiting_count,
                "busy_share": stage.busy_share if stage.HasField("busy_share") else None,
                "problem": stage.problem,
            }
            for stage in state.stages
        ],
        "gateways": [
            {
                "replica": gateway.replica,
                "uptime_s": gateway.uptime_duration.ToNanoseconds() / 1e9,
                "draining": gateway.draining,
                "open_stream_count": gateway.open_stream_count,
                "waiting_image_count": gateway.waiting_image_count,
            }
            for gateway in state.gateways
        ],
        "bottleneck": state.bottleneck,
        "bottleneck_reason": state.bottleneck_reason,
    }
