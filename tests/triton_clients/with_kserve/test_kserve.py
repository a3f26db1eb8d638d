"""KServe's InferenceGRPCClient: raw contents, typed ones, and one of each in a request."""

import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferOutput, InferRequest

MODEL = os.environ["LEYDEN_MODEL"]


@pytest.fixture
async def client() -> AsyncIterator[InferenceGRPCClient]:
    client = InferenceGRPCClient(os.environ["LEYDEN_ADDRESS"], timeout=300)
    yield client
    await client.close()


def raw(name: str, datatype: str, values: Any) -> InferInput:
    given = InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=True)
    return given


def typed(name: str, datatype: str, *values: Any) -> InferInput:
    return InferInput(name, [len(values), 1], datatype, data=list(values))


def prompt_raw() -> InferInput:
    return raw("prompt", "BYTES", np.array([["a lake"]], np.object_))


def seed_raw() -> InferInput:
    return raw("seed", "INT64", np.array([[5]], np.int64))


def small() -> list[InferInput]:
    return [typed("width_px", "INT32", 64), typed("height_px", "INT32", 64)]


async def test_the_server_and_the_model_are_there(client: InferenceGRPCClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready(MODEL)
    assert not await client.is_model_ready("nosuch")


@pytest.mark.parametrize(
    "inputs",
    [
        [prompt_raw(), seed_raw()],
        [typed("prompt", "BYTES", "a lake"), typed("seed", "INT64", 5)],
        [prompt_raw(), typed("seed", "INT64", 5)],
        [typed("prompt", "BYTES", "a lake"), seed_raw()],
    ],
    ids=["raw", "typed", "raw and typed", "typed and raw"],
)
async def test_contents_of_either_kind_are_taken(
    client: InferenceGRPCClient, inputs: list[InferInput]
) -> None:
    request = InferRequest(MODEL, [*inputs, *small()], request_id="mine")
    answer = await client.infer(request)
    outputs = {output.name: output for output in answer.outputs}
    assert outputs["seed"].as_numpy().item() == 5
    assert outputs["generated_image"].as_numpy().shape[-3:] == (64, 64, 3)
    assert answer.id == "mine"


async def test_outputs_may_be_named(client: InferenceGRPCClient) -> None:
    request = InferRequest(
        MODEL, [prompt_raw(), *small()], request_outputs=[InferOutput("seed", [1], "INT64")]
    )
    answer = await client.infer(request)
    assert "seed" in [output.name for output in answer.outputs]


async def test_what_is_wrong_has_its_code(client: InferenceGRPCClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.infer(InferRequest(MODEL, [seed_raw()]))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "prompt" in (raised.value.details() or "")
