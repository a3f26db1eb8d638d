"""ModelStreamInfer before stages that stand for real ones: order, ends, failures, departures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from support.gateways import EOF, held, let, until
from support.house import House, StubTextEncoder, StubVae, house
from support.kserve import array, infer_request, parameters_of, stub_of
from support.patience import PATIENCE_S

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb

MODEL = "leyden-tiny-lightning-4step"
STEPS = 4
MIB = 2**20
FILES = ("image", "seed")
"""What the stub of the VAE can give: it makes no pixels."""
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]


@asynccontextmanager
async def gateway(**settings: Any) -> AsyncIterator[House]:
    async with house(**settings) as home:
        yield home


def opened(home: House, **keywords: Any) -> Any:
    return stub_of(home.channel).ModelStreamInfer(timeout=PATIENCE_S, **keywords)


def asked(*outputs: str, parameters: Any = None, request_id: str = "", **inputs: Any) -> Any:
    named = {"prompt": "x", "seed": 7, **inputs}
    return infer_request(MODEL, outputs or FILES, parameters, request_id, **named)


async def read(call: Any) -> list[pb.ModelStreamInferResponse]:
    responses = []
    while (response := await call.read()) is not EOF:
        responses.append(response)
    return responses


async def answers(
    home: House, *requests: pb.ModelInferRequest, **keywords: Any
) -> list[pb.ModelStreamInferResponse]:
    call = opened(home, **keywords)
    for request in requests:
        await call.write(request)
    await call.done_writing()
    return await read(call)


def shown(response: pb.ModelStreamInferResponse) -> tuple[Any, ...]:
    """Return image_index, whether it is the last, and the outputs' names."""
    parameters = parameters_of(response.infer_response)
    names = [output.name for output in response.infer_response.outputs]
    return parameters.get("image_index"), parameters["triton_final_response"], *names


async def test_a_response_for_each_step_and_then_one_for_the_image() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home)
        await call.write(asked("image", "progress", "preview"))
        responses = []
        for _ in range(STEPS):  # all at once, some previews would be left out
            let(home, 1)
            responses.append(await call.read())
        await call.done_writing()
        responses += await read(call)

    assert [shown(each) for each in responses] == [
        *[(0, False, "progress", "preview")] * STEPS,
        (0, True, "image"),
    ]
    steps = [array(each.infer_response, "progress") for each in responses[:STEPS]]
    assert [step.tolist()[0][:2] for step in steps if step is not None] == [
        [step, STEPS] for step in range(1, STEPS + 1)
    ]
    preview = array(responses[1].infer_response, "preview")
    assert preview is not None
    assert preview.tolist() == [[b"\x02"]]


async def test_steps_have_no_response_where_neither_progress_nor_preview_is_named() -> None:
    async with gateway() as home:
        assert [shown(each) for each in await answers(home, asked())] == [(0, True, *FILES)]


async def test_a_step_without_the_preview_that_alone_is_wanted_has_no_response() -> None:
    async with gateway() as home:
        responses = await answers(home, asked("image", "preview"))
    assert [shown(each) for each in responses] == [(0, True, "image")]


@pytest.mark.parametrize(
    "inputs", [{"image_count": 3}, {"prompt": ["a", "b", "c"], "seed": [7, 8, 9]}]
)
async def test_the_last_image_alone_is_final(inputs: dict[str, Any]) -> None:
    async with gateway() as home:
        responses = await answers(home, asked(**inputs))

    assert [shown(each)[1] for each in responses] == [False, False, True]
    seeds = {
        parameters_of(each.infer_response)["image_index"]: array(each.infer_response, "seed")
        for each in responses
    }
    assert {index: int(seed[0, 0]) for index, seed in seeds.items() if seed is not None} == {
        0: 7,
        1: 8,
        2: 9,
    }


async def test_an_empty_response_is_the_last_one_where_that_is_asked_for() -> None:
    wish = {"triton_enable_empty_final_response": True}
    async with gateway() as home:
        responses = await answers(home, asked(parameters=wish, request_id="mine"))

    assert [shown(each) for each in responses] == [(0, False, *FILES), (None, True)]
    last = responses[-1].infer_response
    assert (last.id, last.model_name, last.model_version) == ("mine", MODEL, "1")


async def test_progress_alone_ends_with_an_empty_response() -> None:
    async with gateway() as home:
        responses = await answers(home, asked("progress"))
    assert [shown(each) for each in responses] == [(0, False, "progress")] * STEPS + [(None, True)]


async def test_requests_on_one_stream_run_side_by_side() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home)
        for name in ("a", "b", "c"):
            await call.write(asked(request_id=name))
        await until(lambda: len(home.denoiser.running) == 3)
        let(home)
        await call.done_writing()
        assert {each.infer_response.id for each in await read(call)} == {"a", "b", "c"}


async def test_a_request_that_fails_ends_no_other() -> None:
    errors: dict[str, Exception] = {"boom": RuntimeError("a secret")}
    async with gateway(text_encoder=StubTextEncoder(errors=errors)) as home:
        call = opened(home)
        await call.write(asked(request_id="wrong", width_px=3))
        await call.write(asked(request_id="defect", prompt="boom"))
        await call.write(pb.ModelInferRequest(model_name="nosuch", id="unknown"))
        await call.write(asked(request_id="right"))
        await call.done_writing()
        responses = {each.infer_response.id: each for each in await read(call)}

    failed = {name: each.error_message for name, each in responses.items() if each.error_message}
    assert failed.keys() == {"wrong", "defect", "unknown"}
    assert failed["wrong"].startswith("INVALID_ARGUMENT: width_px: a multiple of 8")
    assert failed["defect"].startswith("INTERNAL: an internal error; the server's log has it as ")
    assert failed["unknown"].startswith("NOT_FOUND: no model 'nosuch'")
    assert all(shown(each) == (None, True) for name, each in responses.items() if name in failed)
    assert shown(responses["right"]) == (0, True, *FILES)
    told = {record.caller_request_id: record.code for record in home.records.records}
    assert told == {
        "wrong": "INVALID_ARGUMENT",
        "defect": "INTERNAL",
        "unknown": "NOT_FOUND",
        "right": "OK",
    }
    assert {record.protocol for record in home.records.records} == {"kserve.v2"}


async def test_errors_are_statuses_where_a_header_asks_for_it() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home, metadata=(("triton_grpc_error", "true"),))
        await call.write(asked(request_id="running"))
        await until(lambda: home.denoiser.running)
        await call.write(asked(request_id="wrong", width_px=3))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await read(call)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "width_px" in str(raised.value.details())
        await until(lambda: not home.denoiser.running)
        await until(lambda: len(home.records.records) == 2)
    told = {record.caller_request_id: record.code for record in home.records.records}
    assert told == {"wrong": "INVALID_ARGUMENT", "running": "CANCELLED"}


async def test_half_closing_finishes_what_is_in_flight() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home)
        await call.write(asked())
        await call.done_writing()
        await until(lambda: home.denoiser.running)
        let(home)
        assert [shown(each) for each in await read(call)] == [(0, True, *FILES)]
        assert await call.code() is grpc.StatusCode.OK


async def test_cancelling_the_stream_frees_all_its_rows() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home)
        await call.write(asked(prompt=["a", "b"], seed=[1, 2]))
        await call.write(asked(image_count=2))
        await until(lambda: len(home.denoiser.running) == 4)
        call.cancel()
        await until(lambda: not home.denoiser.running)
        await until(lambda: len(home.records.records) == 3)
        assert {record.code for record in home.records.records} == {"CANCELLED"}
        assert home.catalog.get("").line.open_images == 0
        assert home.generations.names == ()
        assert not home.records.defects


async def test_a_call_that_is_cancelled_frees_its_rows() -> None:
    async with gateway(denoiser=held()) as home:
        call = stub_of(home.channel).ModelInfer(asked(prompt=["a", "b"], seed=[1, 2]))
        await until(lambda: len(home.denoiser.running) == 2)
        call.cancel()
        await until(lambda: not home.denoiser.running)
        await until(lambda: len(home.records.records) == 2)
        assert {record.code for record in home.records.records} == {"CANCELLED"}


async def test_a_timeout_ends_its_request_alone() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home)
        await call.write(asked(request_id="patient"))
        await until(lambda: home.denoiser.running)
        await call.write(asked(request_id="late", parameters={"timeout": 200_000}))
        late = await call.read()
        assert late.infer_response.id == "late"
        assert late.error_message.startswith("DEADLINE_EXCEEDED: ")
        await until(lambda: len(home.denoiser.running) == 1)
        let(home)
        await call.done_writing()
        assert [each.infer_response.id for each in await read(call)] == ["patient"]
    told = {record.caller_request_id: record.code for record in home.records.records}
    assert told == {"late": "DEADLINE_EXCEEDED", "patient": "OK"}


async def test_one_stream_has_so_many_requests_in_flight() -> None:
    async with gateway(denoiser=held(), max_stream_requests=2) as home:
        call = opened(home)
        for name in ("a", "b", "c"):
            await call.write(asked(request_id=name))
        refused = await call.read()
        assert refused.infer_response.id == "c"
        assert refused.error_message == (
            "RESOURCE_EXHAUSTED: 2 requests are in flight on this stream, which is the most; "
            "wait for an answer, or open another stream; try again in 1 s"
        )
        let(home)
        await call.done_writing()
        assert {each.infer_response.id for each in await read(call)} == {"a", "b"}


async def test_many_requests_are_answered_however_few_are_in_flight() -> None:
    async with gateway(max_stream_requests=1) as home:
        call = opened(home)

        async def write() -> None:
            for number in range(40):
                await call.write(asked(request_id=str(number)))
            await call.done_writing()

        writing = asyncio.create_task(write())
        responses = await read(call)
        await writing
    assert {each.infer_response.id for each in responses} == {str(n) for n in range(40)}


async def test_a_reader_that_stops_is_cut_off_and_its_rows_are_freed() -> None:
    async with gateway(
        denoiser=held(),
        vae=StubVae(size_bytes=12 * MIB),
        write_timeout_s=0.3,
        channel_options=[*SMALL_WINDOW, ("grpc.max_receive_message_length", -1)],
    ) as home:
        call = opened(home)
        await call.write(asked(request_id="large"))
        await until(lambda: home.denoiser.running)
        let(home, STEPS)
        await until(lambda: not home.denoiser.running)
        await call.write(asked(request_id="running"))
        await until(lambda: len(home.records.records) == 2)
        assert not home.denoiser.running
        codes = {(record.code, record.reason) for record in home.records.records}
        assert codes <= {("RESOURCE_EXHAUSTED", "READER_TOO_SLOW"), ("OK", "")}
        assert ("RESOURCE_EXHAUSTED", "READER_TOO_SLOW") in codes
        call.cancel()


async def test_a_large_file_comes_whole() -> None:
    async with gateway(
        vae=StubVae(size_bytes=5 * MIB),
        channel_options=[("grpc.max_receive_message_length", -1)],
    ) as home:
        (response,) = await answers(home, asked("image"))
        files = array(response.infer_response, "image")
    assert files is not None
    assert files[0, 0] == bytes([7]) * 5 * MIB


async def test_a_full_line_says_when_to_come_back() -> None:
    async with gateway(denoiser=held(), max_waiting_images=8, max_open_images=8) as home:
        call = opened(home)
        await call.write(asked(image_count=8, request_id="all"))
        await until(lambda: len(home.denoiser.running) == 8)
        await call.write(asked(request_id="more"))
        refused = await call.read()
        assert refused.infer_response.id == "more"
        assert refused.error_message.startswith("RESOURCE_EXHAUSTED: ")
        assert "; try again in " in refused.error_message
        call.cancel()
        await until(lambda: not home.denoiser.running)


async def test_a_server_that_drains_finishes_what_is_in_flight() -> None:
    async with gateway(denoiser=held()) as home:
        call = opened(home)
        await call.write(asked(request_id="running"))
        await until(lambda: home.denoiser.running)
        draining = asyncio.create_task(home.generations.drain(PATIENCE_S))
        await until(lambda: home.generations.is_draining)
        await call.write(asked(request_id="late"))
        late = await call.read()
        assert late.infer_response.id == "late"
        assert late.error_message.startswith("UNAVAILABLE: the server is shutting down; try again")
        let(home)
        finished = await call.read()
        assert finished.infer_response.id == "running"
        assert not finished.error_message
        await draining


async def test_junk_on_a_stream_is_refused_and_the_stream_goes_on() -> None:
    async with gateway() as home:
        send: Any = home.channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            None,
            pb.ModelStreamInferResponse.FromString,
        )
        call = send(timeout=PATIENCE_S)
        await call.write(b"\xff\xff\xff")
        assert (await call.read()).error_message.startswith("INVALID_ARGUMENT: ")
        await call.write(asked().SerializeToString())
        await call.done_writing()
        assert [shown(each) for each in await read(call)] == [(0, True, *FILES)]
