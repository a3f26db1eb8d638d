"""OpenAI's images API, called by OpenAI's own client and, where that checks too much, without."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from support.gateways import held, let, until
from support.house import House, StubDenoiser, StubVae
from support.web import address, web_house

from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile

MODEL = "leyden-tiny-lightning-4step"


def client_of(home: House, key: str = "unused") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://{address(home)}/v1", api_key=key, max_retries=0)


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with web_house(openai=True, denoiser=StubDenoiser(previews=True)) as home:
        yield home


@pytest.fixture
async def waiting() -> AsyncIterator[House]:
    """One whose denoiser steps when it is told."""
    async with web_house(openai=True, denoiser=held(), queued_interval_s=0.2) as home:
        yield home


@pytest.fixture
async def client(home: House) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(home) as client:
        yield client


async def post(home: House, body: object, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient() as http:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://{address(home)}/v1/images/generations"
        return await http.post(url, content=content, headers=headers)


async def test_it_generates(home: House, client: openai.AsyncOpenAI) -> None:
    answer = await client.images.generate(
        model=MODEL, prompt="一座灯塔", n=2, size="256x256", output_format="webp", user="someone"
    )
    assert answer.data is not None
    assert (answer.size, answer.output_format, answer.background) == ("256x256", "webp", "opaque")
    [one, two] = [b64decode(image.b64_json or "") for image in answer.data]
    assert (one[0] + 1) % 256 == two[0], "image i has seed + i"
    [record] = home.records.records
    assert (record.code, record.protocol, record.image_count) == ("OK", "openai", 2)
    assert record.method == "v1/images/generations"


async def test_a_stream_has_previews_and_then_the_image(waiting: House) -> None:
    async with client_of(waiting) as client:
        stream = await client.images.generate(
            prompt="x", size="256x256", stream=True, partial_images=3
        )
        events: list[Any] = []
        for _ in range(4):
            let(waiting, 1)
            events.append(await anext(aiter(stream)))
        assert [event.type for event in events] == [
            *["image_generation.partial_image"] * 3,
            "image_generation.completed",
        ]
        assert [b64decode(event.b64_json)[0] for event in events[:3]] == [1, 2, 3]
        assert [event.partial_image_index for event in events[:3]] == [0, 1, 2]
        assert (events[3].size, events[3].output_format) == ("256x256", "png")
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(stream))


@pytest.mark.parametrize(("partial_images", "steps"), [(0, []), (1, [2]), (2, [2, 3])])
async def test_previews_are_spread_over_the_steps_before_the_last(
    waiting: House, partial_images: int, steps: list[int]
) -> None:
    asked = {"prompt": "x", "stream": True, "partial_images": partial_images}
    url = f"http://{address(waiting)}/v1/images/generations"
    shown = []
    async with httpx2.AsyncClient() as http, http.stream("POST", url, json=asked) as answer:
        lines = answer.aiter_lines()
        for step in range(1, 4):
            let(waiting, 1)
            line = await anext(lines)
            while "partial_image_index" not in line and not line.startswith(f": step {step}"):
                line = await anext(lines)
            if "partial_image_index" in line:
                shown.append(step)
    assert shown == steps


async def test_the_models_are_listed(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [MODEL]
    assert (await client.models.retrieve(MODEL)).owned_by == "leyden"
    with pytest.raises(openai.NotFoundError) as raised:
        await client.models.retrieve("nobody")
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": "transparent"}, "background"),
        ({"background": "auto"}, "background"),
        ({"moderation": "low"}, "moderation"),
        ({"style": "vivid"}, "style"),
        ({"quality": "hd"}, "quality"),
        ({"response_format": "url"}, "response_format"),
        ({"size": "1792x1024"}, "size"),
        ({"size": "257x256"}, "size"),
        ({"size": "large"}, "size"),
        ({"size": 256}, "size"),
        ({"n": 9}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 10**30}, "n"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * 5000}, "prompt"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 101, "output_format": "jpeg"}, "output_compression"),
        ({"output_compression": 0, "output_format": "jpeg"}, "output_compression"),
        ({"partial_images": 2}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "n": 2}, "n"),
        ({"user": 7}, "user"),
        ({"seed": 7}, "seed"),
        ({"promt": "x"}, "promt"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    home: House, fields: dict[str, Any], param: str
) -> None:
    answer = await post(home, {"prompt": "x", **fields})
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["code"] == "invalid_field"
    assert param in error["message"]
    [record] = home.records.records
    assert (record.code, record.protocol) == ("INVALID_ARGUMENT", "openai")


async def test_all_that_is_wrong_is_said_at_once(home: House) -> None:
    answer = await post(home, {"prompt": "x", "style": "vivid", "colour": "red", "n": 0})
    assert all(word in answer.json()["error"]["message"] for word in ("style", "colour", "n:"))


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 5000, b'"x"'])
async def test_what_is_no_json_object_is_refused(home: House, body: bytes) -> None:
    answer = await post(home, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_body_over_the_limit_is_refused() -> None:
    async with web_house(openai=True, max_request_bytes=1024) as home:
        assert (await post(home, b" " * 5000)).status_code == 400


async def test_null_is_as_good_as_nothing(home: House) -> None:
    asked = {"prompt": "x", "background": None, "n": None, "size": None, "stream": None}
    assert (await post(home, asked)).status_code == 200


async def test_a_model_that_is_not_there_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await client.images.generate(model="dall-e-3", prompt="x")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    assert MODEL in raised.value.message


async def test_when_to_come_back_is_told(home: House, client: openai.AsyncOpenAI) -> None:
    await home.server.generations.drain(0.0)
    with pytest.raises(openai.InternalServerError) as raised:
        await client.images.generate(prompt="x")
    assert raised.value.status_code == 503
    assert raised.value.code == "draining"
    assert int(raised.value.response.headers["retry-after"]) > 0


async def test_an_error_in_a_stream_is_raised_by_the_client(waiting: House) -> None:
    waiting.denoiser.fails_once.append(RuntimeError("a defect"))
    async with client_of(waiting) as client:
        stream = await client.images.generate(prompt="x", stream=True)
        let(waiting)
        with pytest.raises(openai.APIError) as raised:
            async for _ in stream:
                pass
    assert (raised.value.type, raised.value.code) == ("server_error", "internal")
    assert "the server's log has it as" in raised.value.message


async def test_closing_a_stream_frees_the_rows(waiting: House) -> None:
    async with client_of(waiting) as client:
        stream = await client.images.generate(prompt="x", stream=True)
        await until(lambda: waiting.denoiser.running)
        await stream.close()
        await until(lambda: not waiting.denoiser.running)
    await until(lambda: waiting.records.records)
    assert [record.code for record in waiting.records.records] == ["CANCELLED"]


async def test_giving_up_on_an_answer_frees_the_rows(waiting: House) -> None:
    async with client_of(waiting) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.images.generate(prompt="x", timeout=0.5)
    await until(lambda: waiting.records.records)
    assert [record.code for record in waiting.records.records] == ["CANCELLED"]
    assert not waiting.denoiser.running


async def test_a_silent_stream_has_comments(waiting: House) -> None:
    url = f"http://{address(waiting)}/v1/images/generations"
    async with (
        httpx2.AsyncClient() as http,
        http.stream("POST", url, json={"prompt": "x", "stream": True}) as answer,
    ):
        lines = answer.aiter_lines()
        while await anext(lines) != ": working":
            pass
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers.get("connection", "") != "close"
        let(waiting)
        rest = [line async for line in lines]
        assert any(line.startswith("data: ") and "completed" in line for line in rest)


async def test_a_large_image_comes_whole() -> None:
    async with (
        web_house(openai=True, vae=StubVae(size_bytes=4_000_000)) as home,
        client_of(home) as client,
    ):
        answer = await client.images.generate(prompt="x")
        assert answer.data is not None
        assert len(b64decode(answer.data[0].b64_json or "")) == 4_000_000
        stream = await client.images.generate(prompt="x", stream=True)
        [event] = [event async for event in stream]
        assert len(b64decode(event.b64_json)) == 4_000_000


async def test_a_key_is_asked_for(tmp_path: Path) -> None:
    key = new_key()
    path = tmp_path / "keys.yaml"
    KeyFile(keys=(KeyEntry.of(key, "alice", images_at_once=2),)).write(path)
    async with web_house(openai=True, api_keys=str(path)) as home:
        async with client_of(home, "sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError) as raised:
                await stranger.images.generate(prompt="x")
            assert raised.value.code == "invalid_api_key"
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()
        async with client_of(home, key) as client:
            await client.images.generate(prompt="x")
            assert [model.id async for model in client.models.list()] == [MODEL]
            with pytest.raises(openai.BadRequestError) as too_many:
                await client.images.generate(prompt="x", n=3)
            assert too_many.value.code == "too_many_in_one"
        keys = [record.key for record in home.records.records]
        assert keys == ["", "", "alice", "alice"], "who is turned away is in the log too"


async def test_other_paths_and_methods_are_said_not_to_be_there(home: House) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{address(home)}") as http:
        for path in ("/v1/chat/completions", "/v1/images/edits", "/v1/"):
            answer = await http.post(path, json={})
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "invalid_request_error"
        assert (await http.get("/v1/images/generations")).status_code == 405
        assert (await http.post("/v1/models", json={})).status_code == 405


async def test_it_is_off_by_default() -> None:
    async with web_house() as home, httpx2.AsyncClient() as http:
        assert (await http.get(f"http://{address(home)}/v1/models")).status_code == 404
