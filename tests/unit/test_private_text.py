"""Users' prompts and API keys: nowhere in logs, errors and notes, whatever happens."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.gateways import kinds, read, refusal, request, until
from support.house import StubTextEncoder, StubVae, house
from support.kserve import infer_request, stub_of
from support.patience import PATIENCE_S

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile
from leyden_server.errors import OutOfMemoryError, StageFailedError
from leyden_server.private_text import _private, keep_private, traceback_of
from leyden_server.stages.failures import telling_failures

MARK = "zanzibar-marked"
PROMPT = f"a {MARK} lighthouse\nat dusk, ünlit"
MODEL = "leyden-tiny-lightning-4step"


def defect(text: str) -> ValueError:
    return ValueError(f"cannot do {text!r} nor {text} nor {text!a}")


class BrokenVae(StubVae):
    """A Vae with a defect whose text quotes the prompt."""

    async def decode(self, request: Any) -> Any:
        raise defect(str(request.parameters["prompt"]))


@pytest.fixture
def key_file(tmp_path: Path) -> tuple[Path, str]:
    key, path = new_key(), tmp_path / "keys.yaml"
    KeyFile(keys=(KeyEntry.of(key, "app"),)).write(path)
    return path, key


async def test_nothing_that_is_written_has_a_prompt_or_a_key(
    tmp_path: Path,
    key_file: tuple[Path, str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    path, key = key_file
    log = tmp_path / "requests.jsonl"
    broken = f"{PROMPT} broken"
    metadata = (("authorization", f"Bearer {key}"),)
    said: list[str] = []

    async with house(
        request_log=log,
        api_keys=str(path),
        text_encoder=StubTextEncoder(errors={broken: defect(broken)}),
        max_prompt_chars=200,
    ) as home:

        def generate(**fields: Any) -> Any:
            asked = request(60 if fields.pop("lingers", False) else 0.0, **fields)
            return home.images.GenerateImage(asked, metadata=metadata, timeout=PATIENCE_S)

        ended = await read(generate(prompt=PROMPT, negative_prompt=MARK, lingers=True))
        assert kinds(ended)[-1] == "summary"
        for fields in (
            {"prompt": broken},
            {"prompt": "x", "negative_prompt": broken, "guidance_scale": 1.0, "seed": -1},
            {"prompt": f"{PROMPT}\x00"},
            {"prompt": f"{PROMPT}{'x' * 300}"},
            {"prompt": PROMPT, "model": "absent"},
            {"prompt": f"{PROMPT} of another"},  # the name is taken
            {"prompt": PROMPT, "width_px": 7, "request_id": "b"},
        ):
            said.append(str(await refusal(generate(**{"request_id": "mine", **fields}))))
        wrong = (("authorization", f"Bearer {key[:13]}{new_key()[13:]}"),)
        call: Any = home.images.GenerateImage(request(prompt=PROMPT), metadata=wrong)
        said.append(str(await refusal(call)))
        stub = stub_of(home.channel)
        for asked in (
            infer_request(MODEL, ["seed"], prompt=PROMPT),
            infer_request(MODEL, ["seed"], prompt=broken),
            infer_request(MODEL, ["seed"], prompt=f"{PROMPT}\x00"),
            infer_request(MODEL, ["seed"], prompt=PROMPT.encode("latin-1")),
            infer_request(MODEL, ["seed"], prompt=[PROMPT, broken, PROMPT]),
            infer_request(MODEL, ["seed"], {"triton_x": 1}, prompt=PROMPT),
            infer_request(MODEL, ["seed"], prompt=PROMPT, seed=[1, 2]),
        ):
            try:
                await stub.ModelInfer(asked, metadata=metadata, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                said.append(str(error))
        path.write_text(f"keys: [{key}")
        await until(lambda: home.records.notes)
        said += home.records.notes
        said += [str(record.line()) for record in home.records.records]
    assert home.records.defects, "there was a defect to write of"

    async with house(request_log=log, vae=BrokenVae()) as home:
        said.append(str(await refusal(home.images.GenerateImage(request(prompt=PROMPT)))))
        assert home.records.defects

    written = log.read_text()
    assert "[private]" in written, "its traceback was written"
    assert "ValueError: cannot do" in written
    out, error_text = capfd.readouterr()
    everything = "\n".join([written, *said, caplog.text, out, error_text])
    assert len(said) > 20
    for secret in (MARK, "lighthouse", "nlit", key, key.rpartition("_")[2]):
        assert secret not in everything, secret


async def test_prompts_are_logged_where_the_setting_says_so(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    async with house(request_log=log, log_prompts=True, max_prompt_chars=50) as home:
        await read(home.images.GenerateImage(request(prompt=PROMPT)))
        await refusal(home.images.GenerateImage(request(prompt="y" * 99, request_id="b")))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["prompt"] for line in lines] == [PROMPT, "y" * 50]
    assert lines[0]["negative_prompt"] == ""


async def test_without_it_the_log_has_no_such_fields(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    async with house(request_log=log) as home:
        await read(home.images.GenerateImage(request(prompt=PROMPT)))
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert not {"prompt", "negative_prompt", "prompts"} & set(line)


@pytest.fixture
def _forgotten() -> Iterator[None]:
    """What is private to a test without a task of its own is not to the next one."""
    token = _private.set(())
    yield
    _private.reset(token)


@pytest.mark.usefixtures("_forgotten")
def test_a_stage_tells_of_its_failure_without_the_prompt(caplog: pytest.LogCaptureFixture) -> None:
    keep_private(PROMPT)
    with pytest.raises(StageFailedError) as caught, telling_failures("text encoder"):
        raise defect(PROMPT)
    with pytest.raises(OutOfMemoryError), telling_failures("text encoder"):
        raise MemoryError(f"no room for {PROMPT}")
    assert "Traceback" in caplog.text
    assert caught.value.error_id in caplog.text
    for text in (caplog.text, caught.value.text, str(caught.value)):
        assert MARK not in text
        assert "nlit" not in text


@pytest.mark.usefixtures("_forgotten")
def test_a_short_prompt_leaves_the_rest_readable() -> None:
    keep_private("a", "")
    told = traceback_of(ValueError("a cat has a hat: 'a'"))
    assert "ValueError: [private] cat has [private] hat: '[private]'" in told


async def test_an_event_is_not_an_error(tmp_path: Path) -> None:
    """What a client is sent of its own is not cut."""
    async with house() as home:
        call: Any = home.images.GenerateImage(pb.GenerateImageRequest(prompt="a", request_id="a"))
        assert (await read(call))[0].request_id == "a"
