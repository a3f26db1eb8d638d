"""A request of several rows is one request: all of it is served, or nothing of it goes on."""

from typing import Any

import grpc
from support.gateways import held, let, refusal, until
from support.house import House, StubTextEncoder, house
from support.kserve import array, infer_request, stub_of
from support.patience import PATIENCE_S

MODEL = "leyden-tiny-lightning-4step"


def infer(home: House, prompts: list[str], **inputs: Any) -> Any:
    request = infer_request(MODEL, ["seed"], request_id="mine", prompt=prompts, **inputs)
    return stub_of(home.channel).ModelInfer(request, timeout=PATIENCE_S)


def open_images(home: House) -> int:
    return home.catalog.get("").line.open_images


async def test_rows_run_side_by_side_and_stand_in_their_order() -> None:
    async with house(denoiser=held()) as home:
        call = infer(home, ["a", "b", "c"], seed=[9, 3, 5])
        await until(lambda: len(home.denoiser.running) == 3)
        let(home)
        seeds = array(await call, "seed")
        assert seeds is not None
        assert seeds.tolist() == [[9], [3], [5]]
        assert {record.code for record in home.records.records} == {"OK"}
        assert open_images(home) == 0


async def test_where_the_line_has_no_room_for_all_none_stays_in_it() -> None:
    async with house(denoiser=held(), max_waiting_images=8, max_open_images=8) as home:
        first = infer(home, ["x"] * 6)
        await until(lambda: len(home.denoiser.running) == 6)
        error = await refusal(infer(home, ["a", "b", "c"]))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "; try again in " in error.details()
        await until(lambda: open_images(home) == 6)
        assert {record.code for record in home.records.records} == {"RESOURCE_EXHAUSTED"}
        let(home)
        assert (await first).id == "mine"


async def test_a_row_that_fails_ends_the_others() -> None:
    errors: dict[str, Exception] = {"boom": RuntimeError("a secret")}
    text_encoder = StubTextEncoder(errors=errors)
    async with house(denoiser=held(), text_encoder=text_encoder) as home:
        error = await refusal(infer(home, ["a", "boom", "c"]))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        await until(lambda: not home.denoiser.running)
        await until(lambda: open_images(home) == 0)
        assert len(home.records.records) == 3
        assert {record.code for record in home.records.records} == {"INTERNAL"}
        assert len(home.records.defects) == 1


async def test_a_wrong_row_is_found_before_any_begins() -> None:
    async with house() as home:
        error = await refusal(infer(home, ["a", "b", ""]))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.details() == "prompt[2]: must not be empty"
        (record,) = home.records.records
        assert (record.caller_request_id, record.model) == ("mine", MODEL)
        assert home.text_encoder.left == []


async def test_a_server_that_shuts_down_says_so() -> None:
    async with house() as home:
        await home.generations.drain(0.0)
        error = await refusal(infer(home, ["a"]))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert error.details() == "the server is shutting down; try again in 5 s"
