"""How each server is asked for an image, with the client that it comes with or its docs name."""

import asyncio
import base64
import json
from typing import Protocol

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
        while True:
            try:
                if await self._client.is_model_ready("images"):
                    return
            except self._not_yet:
                pass
            await asyncio.sleep(POLL_S)

    async def generate(self, prompt: str, seed: int) -> bytes:
        prompt_input = self._triton.InferInput("prompt", [1, 1], "BYTES")
        prompt_input.set_data_from_numpy(self._np.array([[prompt.encode()]], dtype=object))
        seed_input = self._triton.InferInput("seed", [1, 1], "INT64")
        seed_input.set_data_from_numpy(self._np.array([[seed]], dtype=self._np.int64))
        result = await self._client.infer("images", [prompt_input, seed_input])
        image: bytes = result.as_numpy("image")[0, 0]
        return image

    async def close(self) -> None:
        await self._client.close()


TRANSPORTS = {
    "leyden": Leyden,
    "bare_grpc": BareGrpc,
    "litserve": LitServe,
    "bentoml": BentoML,
    "pytriton": PyTriton,
}
