"""How each server is asked for an image, with the client that it comes with or its docs name."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Protocol

__all__ = ["TRANSPORTS", "Transport"]

POLL_S = 0.1


class Transport(Protocol):
    """A connection to one server."""

    async def wait_until_ready(self) -> None:
        """Return when the server says that it is ready."""

    async def generate(self, prompt: str, seed: int) -> bytes:
        """Return the PNG."""

    async def close(self) -> None:
        """Close the connection."""


class Leyden:
    """Leyden's own client for asyncio."""

    def __init__(self, address: str) -> None:
        from leyden_client import AsyncClient  # noqa: PLC0415 - in Leyden's venv alone

        self._client = AsyncClient(address)

    async def wait_until_ready(self) -> None:
        await self._client.wait_until_ready()

    async def generate(self, prompt: str, seed: int) -> bytes:
        generation = await self._client.generate_image(
            prompt, seed=seed, num_inference_steps=4, guidance_scale=0.0
        )
        return generation.images[0].data

    async def close(self) -> None:
        await self._client.close()


class BareGrpc:
    """gRPC for Python."""

    def __init__(self, address: str) -> None:
        import grpc.aio  # noqa: PLC0415

        self._channel = grpc.aio.insecure_channel(address)
        self._generate = self._channel.unary_unary("/benchmark.Images/Generate")

    async def wait_until_ready(self) -> None:
        await self._channel.channel_ready()

    async def generate(self, prompt: str, seed: int) -> bytes:
        request = json.dumps({"prompt": prompt, "seed": seed}).encode()
        image: bytes = await self._generate(request, wait_for_ready=True)
        return image

    async def close(self) -> None:
        await self._channel.close()


class Http:
    """aiohttp, with a connection for each client."""

    ready_path = ""

    def __init__(self, address: str) -> None:
        import aiohttp  # noqa: PLC0415

        self._session = aiohttp.ClientSession(
            f"http://{address}",
            timeout=aiohttp.ClientTimeout(total=600),
            connector=aiohttp.TCPConnector(limit=0),
            # A PNG does not get smaller by gzip.
            headers={"Accept-Encoding": "identity"},
        )
        self._refused = aiohttp.ClientConnectionError

    async def wait_until_ready(self) -> None:
        while True:
            try:
                async with self._session.get(self.ready_path) as response:
                    if response.ok:
                        return
            except self._refused:
                pass
            await asyncio.sleep(POLL_S)

    async def _post(self, path: str, body: object) -> bytes:
        async with self._session.post(path, json=body) as response:
            data = await response.read()
            if not response.ok:
                raise RuntimeError(f"HTTP {response.status}: {data[:300]!r}")
            return data

    async def close(self) -> None:
        await self._session.close()


class LitServe(Http):
    """JSON in, image/png out."""

    ready_path = "/health"

    async def generate(self, prompt: str, seed: int) -> bytes:
        return await self._post("/predict", {"prompt": prompt, "seed": seed})


class BentoML(Http):
    """JSON in and out; a batchable API takes a list, and the server joins the lists."""

    ready_path = "/readyz"

    async def generate(self, prompt: str, seed: int) -> bytes:
        answer = await self._post("/generate", {"requests": [{"prompt": prompt, "seed": seed}]})
        return base64.b64decode(json.loads(answer)[0])


class PyTriton:
    """Triton's gRPC client for asyncio."""

    def __init__(self, address: str) -> None:
        import numpy as np  # noqa: PLC0415
        import tritonclient.grpc.aio as triton  # noqa: PLC0415
        from tritonclient.utils import InferenceServerException  # noqa: PLC0415

        self._np = np
        self._triton = triton
        self._not_yet = InferenceServerException
        self._client = triton.InferenceServerClient(address)

    async def wait_until_ready(self) -> None:
        while not await self.is_ready("images"):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(POLL_S)

    async def is_ready(self, model: str) -> bool:
        try:
            ready: bool = await self._client.is_model_ready(model)
        except self._not_yet:
            return False
        return ready

    def request(self, model: str, prompt: str, seed: int) -> dict[str, Any]:
        """Return the arguments of `infer`."""
        prompt_input = self._triton.InferInput("prompt", [1, 1], "BYTES")
        prompt_input.set_data_from_numpy(self._np.array([[prompt.encode()]], dtype=object))
        seed_input = self._triton.InferInput("seed", [1, 1], "INT64")
        seed_input.set_data_from_numpy(self._np.array([[seed]], dtype=self._np.int64))
        outputs = [self._triton.InferRequestedOutput("image")]
        return {"model_name": model, "inputs": [prompt_input, seed_input], "outputs": outputs}

    def stream(self, requests: AsyncIterator[dict[str, Any]]) -> Any:
        """Return an iterator over the answers, as (result, error)."""
        return self._client.stream_infer(requests)

    async def generate(self, prompt: str, seed: int) -> bytes:
        result = await self._client.infer(**self.request("images", prompt, seed))
        image: bytes = result.as_numpy("image")[0, 0]
        return image

    async def close(self) -> None:
        await self._client.close()


class TritonStreams:
    """Triton's gRPC client for asyncio, by ModelStreamInfer: a stream for each client."""

    model = "images"

    def __init__(self, address: str) -> None:
        self._unary = PyTriton(address)
        self._idle: list[_Stream] = []

    async def wait_until_ready(self) -> None:
        while not await self._unary.is_ready(self.model):  # noqa: ASYNC110 - as above
            await asyncio.sleep(POLL_S)

    async def generate(self, prompt: str, seed: int) -> bytes:
        stream = self._idle.pop() if self._idle else _Stream(self._unary, self.model)
        image = await stream.generate(prompt, seed)
        self._idle.append(stream)
        return image

    async def close(self) -> None:
        for stream in self._idle:
            stream.close()
        await self._unary.close()


class LeydenTritonStreams(TritonStreams):
    """The same client with another model's name."""

    model = "leyden-tiny-lightning-4step"


class _Stream:
    """One ModelStreamInfer: a request goes in, its image comes out, and then the next."""

    def __init__(self, client: "PyTriton", model: str) -> None:
        self._client = client
        self._model = model
        self._requests: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers = client.stream(self._take())

    async def generate(self, prompt: str, seed: int) -> bytes:
        request = self._client.request(self._model, prompt, seed)
        self._requests.put_nowait(request)
        result, error = await anext(self._answers)
        if error is not None:
            raise error
        image: bytes = result.as_numpy("image")[0, 0]
        return image

    def close(self) -> None:
        self._answers.cancel()

    async def _take(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self._requests.get()


TRANSPORTS = {
    "leyden": Leyden,
    "bare_grpc": BareGrpc,
    "litserve": LitServe,
    "bentoml": BentoML,
    "pytriton": PyTriton,
    "pytriton_streams": TritonStreams,
    "leyden_streams": LeydenTritonStreams,
}
