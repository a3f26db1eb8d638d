"""What a test reads of generations over gRPC, and a directory for several Gateways in one loop."""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from support.house import House, StubDenoiser
from support.patience import PATIENCE_S
from support.running_server import details_of

from leyden.v1 import image_generation_service_pb2 as pb

EOF: Any = vars(grpc.aio)["EOF"]  # grpc-stubs do not know it


Reply = list[pb.GenerateImageResponse]


def request(linger_s: float = 0.0, **fields: Any) -> pb.GenerateImageRequest:
    linger = Duration()
    linger.FromNanoseconds(round(linger_s * 1e9))
    named = {"prompt": "x", "request_id": "mine", "linger_duration": linger if linger_s else None}
    return pb.GenerateImageRequest(**{**named, **fields})


def generate(home: House, linger_s: float = 0.0, **fields: Any) -> Any:
    return home.images.GenerateImage(request(linger_s, **fields), timeout=PATIENCE_S)


def watch(home: House, request_id: str = "mine", after: int | None = None) -> Any:
    asked = pb.WatchGenerationRequest(request_id=request_id, after_event_index=after)
    return home.images.WatchGeneration(asked, timeout=PATIENCE_S)


async def cancel(home: House, request_id: str = "mine") -> None:
    await home.images.CancelGeneration(pb.CancelGenerationRequest(request_id=request_id))


async def read(call: Any) -> Reply:
    events: Reply = []
    while (event := await call.read()) is not EOF:
        events.append(event)
    return events


async def read_until(call: Any, kind: str) -> Reply:
    """Read up to the first event of a kind; the call goes on."""
    events: Reply = []
    while not events or events[-1].WhichOneof("event") != kind:
        events.append(await call.read())
        assert events[-1] is not EOF, f"no {kind} came"
    return events


async def until(condition: Callable[[], object]) -> None:
    """Give the loop turns until `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.005)


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (read(call) if hasattr(call, "read") else call)
    return raised.value


def reason(error: Any) -> str:
    found: str = details_of(error)[ErrorInfo].reason
    return found


def kinds(events: Reply) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def held() -> StubDenoiser:
    """A denoiser that steps when it is told."""
    return StubDenoiser(may_step=asyncio.Semaphore(0), previews=True)


def let(home: House, steps: int = 100) -> None:
    for _ in range(steps):
        assert home.denoiser.may_step is not None
        home.denoiser.may_step.release()


@dataclass
class Owners:
    """Who owns which generation, of Gateways in one event loop."""

    owners: dict[str, str] = field(default_factory=dict)
    claims: int = 0

    def join(self, address: str, names: Callable[[], Iterable[str]]) -> "View":
        del names  # a directory that has died would ask; this one does not
        return View(self, address)


@dataclass
class View:
    """The owners as one Gateway sees them: a `Directory`."""

    shared: Owners
    address: str

    async def ready(self) -> None:
        """Nothing has to start."""

    def draw_name(self) -> str:
        return f"{uuid.uuid4()}.of.{self.address}"

    async def claim(self, request_id: str) -> str | None:
        self.shared.claims += 1
        owner = self.shared.owners.setdefault(request_id, self.address)
        return None if owner == self.address else owner

    async def owner(self, request_id: str) -> str | None:
        drawn_at = request_id.partition(".of.")[2] or None
        names = [n for n in self.shared.owners if n.endswith(request_id.removeprefix("*"))]
        found = names[0] if names and request_id.startswith("*/") else request_id
        owner = self.shared.owners.get(found, drawn_at)
        return None if owner == self.address else owner

    def forget(self, request_id: str) -> None:
        if self.shared.owners.get(request_id) == self.address:
            del self.shared.owners[request_id]

    async def close(self) -> None:
        for name, owner in list(self.shared.owners.items()):
            if owner == self.address:
                del self.shared.owners[name]
