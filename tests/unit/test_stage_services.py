"""The three stages without Ray: each is its Protocol, and each tells of its failures alike."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from support.stages import (
    events_of,
    load_denoiser,
    load_text_encoding,
    load_vae,
    plain_request,
    random_prompt,
)
from torch import nn

from leyden_server.errors import OutOfMemoryError, StageFailedError
from leyden_server.model_repository import ResolvedModel
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import (
    DecodedImage,
    DecodeRequest,
    DenoiserStage,
    FloatArray,
    StageInfo,
    TextEncoderStage,
    VaeStage,
)
from leyden_server.text_encoder.service import TextEncodingService
from leyden_server.vae.service import VaeService


class Service(Protocol):
    def check_health(self) -> None: ...

    def stop(self) -> None: ...


@dataclass
class Stage:
    """One stage's service, what is asked of it, and the part of its model that can fail."""

    name: str
    service: Service
    ask: Callable[[int], Awaitable[object]]
    """Something else for each number, which no cache has."""
    module: nn.Module

    def fail(self, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        """Make every run of the model raise."""

        def forward(*args: object, **kwargs: object) -> None:
            raise error

        monkeypatch.setattr(self.module, "forward", forward)


def decode_request(seed: int, height: int = 8, width: int = 8) -> DecodeRequest:
    rng = np.random.default_rng(seed)
    latents: FloatArray = rng.standard_normal((4, height, width), dtype=np.float32)
    return DecodeRequest(latents, "PNG", 90, {"seed": seed}, TravellingOrder())


def text_encoder(model: ResolvedModel) -> Stage:
    service = load_text_encoding(model)
    stage: TextEncoderStage = service
    module = service._encoder._executor._text_encoders[1]
    return Stage("text encoder", service, lambda number: stage.encode(f"lake {number}"), module)


def denoiser(model: ResolvedModel) -> Stage:
    service = load_denoiser(model, execution="eager")  # what is traced calls no module
    stage: DenoiserStage = service
    request = plain_request(model, random_prompt(service))
    assert stage is service
    return Stage("denoiser", service, lambda _: events_of(service, request), service._runner.unet)


def vae(model: ResolvedModel) -> Stage:
    service = load_vae(model)
    stage: VaeStage = service
    module: Any = service._decoder._vae.decoder
    return Stage("VAE", service, lambda number: stage.decode(decode_request(number)), module)


@pytest.fixture(params=[text_encoder, denoiser, vae], ids=lambda make: make.__name__)
def stage(request: pytest.FixtureRequest, random_model: ResolvedModel) -> Iterator[Stage]:
    stage: Stage = request.param(random_model)
    yield stage
    stage.service.stop()


async def test_a_lost_device_fails_the_health_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.ask(0)
    stage.service.check_health()
    stage.fail(monkeypatch, torch.AcceleratorError("CUDA error: an illegal memory access\nFor"))
    with pytest.raises(StageFailedError) as caught:
        await stage.ask(1)

    assert caught.value.stage == stage.name
    assert caught.value.text == "AcceleratorError: CUDA error: an illegal memory access"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.stage, again.text, again.error_id) == caught.value.args
    with pytest.raises(RuntimeError, match="lost to this process: CUDA error: an illegal"):
        stage.service.check_health()


async def test_three_failures_in_a_row_fail_the_health_until_a_run_succeeds(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stage.fail(patched, RuntimeError("cuDNN failed"))
        for number in range(3):
            stage.service.check_health()
            with pytest.raises(StageFailedError):
                await stage.ask(number)
        with pytest.raises(RuntimeError, match="the last 3 runs"):
            stage.service.check_health()
    await stage.ask(0)
    stage.service.check_health()


async def test_too_little_memory_is_said_and_is_no_fault_of_the_stage(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stage.fail(patched, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
        for number in range(4):
            with pytest.raises(OutOfMemoryError) as caught:
                await stage.ask(number)
            assert caught.value.stage == stage.name
    stage.service.check_health()
    await stage.ask(0)


@pytest.fixture
def encoding(random_model: ResolvedModel) -> Iterator[TextEncodingService]:
    service = load_text_encoding(random_model, cache_prompts=2)
    yield service
    service.stop()


async def test_prompts_that_come_together_share_a_run_and_are_kept(
    encoding: TextEncodingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[str]] = []
    encode = encoding._encoder.encode

    def noted(prompts: list[str]) -> Any:
        runs.append(prompts)
        return encode(prompts)

    monkeypatch.setattr(encoding._encoder, "encode", noted)
    first, second = await asyncio.gather(encoding.encode("a lake"), encoding.encode("a hill"))
    assert runs == [["a lake", "a hill"]]
    assert (await encoding.encode("a lake")).prompt_embeds is first.prompt_embeds
    await encoding.encode("fog")  # one too many: the one that was longest unused goes
    assert (await encoding.encode("a lake")).prompt_embeds is first.prompt_embeds
    assert (await encoding.encode("a hill")).prompt_embeds is not second.prompt_embeds
    assert runs == [["a lake", "a hill"], ["fog"], ["a hill"]]
    assert await encoding.ready() == StageInfo("text_encoder#1")


@pytest.fixture
def decoding(random_model: ResolvedModel) -> Iterator[VaeService]:
    service = load_vae(random_model, tile_px=128)
    yield service
    service.stop()


async def test_images_of_one_size_share_a_run(
    decoding: VaeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    decode = decoding._decoder.decode

    def noted(latents: list[FloatArray]) -> Any:
        runs.append(len(latents))
        return decode(latents)

    monkeypatch.setattr(decoding._decoder, "decode", noted)
    requests = [decode_request(0), decode_request(1, width=10), decode_request(2)]
    images = await asyncio.gather(*(decoding.decode(request) for request in requests))

    assert runs == [2, 1]
    assert [(image.width_px, image.height_px) for image in images] == [(64, 64), (80, 64), (64, 64)]
    assert decoding.calls == 3
    assert await decoding.ready() == StageInfo("vae#1")


async def test_images_without_room_together_are_decoded_in_smaller_runs(
    decoding: VaeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    decode = decoding._decoder.decode

    def with_room_for_two(latents: list[FloatArray]) -> Any:
        runs.append(len(latents))
        if len(latents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents)

    monkeypatch.setattr(decoding._decoder, "decode", with_room_for_two)
    for expected in ([3, 1, 1, 1], [2, 1]):
        runs.clear()
        requests = [decode_request(number) for number in range(3)]
        await asyncio.gather(*(decoding.decode(request) for request in requests))
        assert runs == expected
    decoding.check_health()


async def test_a_large_image_is_decoded_in_tiles_and_ends_when_its_caller_leaves(
    decoding: VaeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = decode_request(0, height=32, width=32)
    image = await decoding.decode(large)
    assert (image.width_px, image.height_px) == (256, 256)
    whole = decoding.tile_runs
    assert whole > 2

    tiles, decode_regions = asyncio.Event(), decoding._decoder.decode_regions
    loop = asyncio.get_running_loop()

    def noted(*args: Any) -> Any:
        loop.call_soon_threadsafe(tiles.set)
        return decode_regions(*args)

    monkeypatch.setattr(decoding._decoder, "decode_regions", noted)
    leaving = asyncio.create_task(decoding.decode(large))
    await tiles.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    small: DecodedImage = await decoding.decode(decode_request(1))
    assert small.width_px == 64
    assert decoding.tile_runs < 2 * whole
