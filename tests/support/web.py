"""A Gateway with an HTTP door, and a client of it that speaks Connect or gRPC-Web."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf.message import Message
from support.house import House, house

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb

__all__ = ["Connected", "connected", "web_house"]

IMAGES = "leyden.v1.ImageGenerationService"
MODELS = "leyden.v1.ModelService"


@asynccontextmanager
async def web_house(**settings: Any) -> AsyncIterator[House]:
    """Run a Gateway with an HTTP door on a free port."""
    async with house(web_port=0, **settings) as home:
        yield home


def address(home: House) -> str:
    assert home.server.web is not None
    return f"127.0.0.1:{home.server.web.port}"


def method(
    service: str, name: str, kinds: tuple[type[Message], type[Message]], kind: StreamType
) -> MethodInfo[Any, Any]:
    return MethodInfo(
        name=name,
        service_name=service,
        input=kinds[0],
        output=kinds[1],
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )


GENERATE = method(
    IMAGES,
    "GenerateImage",
    (pb.GenerateImageRequest, pb.GenerateImageResponse),
    StreamType.SERVER_STREAM,
)
WATCH = method(
    IMAGES,
    "WatchGeneration",
    (pb.WatchGenerationRequest, pb.GenerateImageResponse),
    StreamType.SERVER_STREAM,
)
CANCEL = method(
    IMAGES,
    "CancelGeneration",
    (pb.CancelGenerationRequest, pb.CancelGenerationResponse),
    StreamType.UNARY,
)
LIST = method(
    MODELS,
    "ListModels",
    (model_pb.ListModelsRequest, model_pb.ListModelsResponse),
    StreamType.UNARY,
)
STATE = method(
    MODELS,
    "GetServerState",
    (model_pb.GetServerStateRequest, model_pb.GetServerStateResponse),
    StreamType.UNARY,
)


@dataclass
class Answer:
    """A response over HTTP."""

    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Connected:
    """What connectrpc's own client makes of the door."""

    url: str
    client: ConnectClient
    headers: dict[str, str]

    def generate(
        self, request: pb.GenerateImageRequest, timeout_ms: int | None = None
    ) -> AsyncGenerator[pb.GenerateImageResponse]:
        found: Any = self.client.execute_server_stream(
            request=request, method=GENERATE, headers=self.headers, timeout_ms=timeout_ms
        )
        return found  # type: ignore[no-any-return]

    def watch(self, request: pb.WatchGenerationRequest) -> AsyncGenerator[pb.GenerateImageResponse]:
        found: Any = self.client.execute_server_stream(
            request=request, method=WATCH, headers=self.headers
        )
        return found  # type: ignore[no-any-return]

    async def cancel(self, request_id: str) -> None:
        request = pb.CancelGenerationRequest(request_id=request_id)
        await self.client.execute_unary(request=request, method=CANCEL, headers=self.headers)

    async def list_models(self) -> list[str]:
        answer = await self.client.execute_unary(
            request=model_pb.ListModelsRequest(), method=LIST, headers=self.headers
        )
        return [model.name for model in answer.models]

    async def post(self, path: str, body: bytes, content_type: str = "application/json") -> Answer:
        """Send bytes as they are."""
        async with httpx2.AsyncClient() as http:
            headers = {"content-type": content_type, **self.headers}
            answer = await http.post(f"{self.url}/{path}", content=body, headers=headers)
            return Answer(answer.status_code, answer.text)

    async def stream(self, path: str, body: bytes) -> bytes:
        """Send bytes as the one message of a stream in JSON; return all that is answered."""
        framed = b"\x00" + len(body).to_bytes(4, "big") + body
        async with httpx2.AsyncClient() as http:
            headers = {"content-type": "application/connect+json", **self.headers}
            answer = await http.post(f"{self.url}/{path}", content=framed, headers=headers)
            return answer.content

    async def server_state(self) -> model_pb.GetServerStateResponse:
        answer: Any = await self.client.execute_unary(
            request=model_pb.GetServerStateRequest(), method=STATE, headers=self.headers
        )
        return answer  # type: ignore[no-any-return]


@asynccontextmanager
async def connected(
    url: str,
    *,
    protocol: ProtocolType = ProtocolType.CONNECT,
    as_json: bool = False,
    key: str = "",
    http_client: Any = None,
) -> AsyncIterator[Connected]:
    """Give a client of the door at `url`."""
    binary, text = google_protobuf_codecs()
    async with ConnectClient(
        url,
        codec=text if as_json else binary,
        protocol=protocol,
        http_client=http_client,
    ) as client:
        yield Connected(url, client, {"authorization": f"Bearer {key}"} if key else {})
