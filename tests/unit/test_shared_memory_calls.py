"""Tensors in shared memory over gRPC: whole calls, and how long a region is held."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing.shared_memory import SharedMemory as ClientsMemory
from typing import Any

import grpc
import pytest
from support.gateways import EOF, held, let, until
from support.house import House, StubDenoiser, house
from support.kserve import array, infer_request, raw, stub_of
from support.patience import PATIENCE_S

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.segments import SHARED_MEMORY

MODEL = "leyden-tiny-lightning-4step"
PAGE = 4096
BYTES = 64 * PAGE


@pytest.fixture
def segment() -> Iterator[ClientsMemory]:
    segment = ClientsMemory(f"test-{uuid.uuid4()}", create=True, size=BYTES)
    yield segment
    segment.close()
    segment.unlink()


@asynccontextmanager
async def at_home(
    segment: ClientsMemory, denoiser: StubDenoiser | None = None
) -> AsyncIterator[tuple[House, Any]]:
    """A Gateway with shared memory, the whole segment registered as region `all`."""
    async with house(denoiser=denoiser, shared_memory=True) as home:
        stub = stub_of(home.channel)
        await stub.SystemSharedMemoryRegister(
            pb.SystemSharedMemoryRegisterRequest(
                name="all", key=f"/{segment.name}", byte_size=BYTES
            )
        )
        yield home, stub


def lies(tensor: Any, byte_size: int, offset: int = 0, region: str = "all") -> None:
    """Say of an input or output that it is in shared memory."""
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    if offset:
        tensor.parameters["shared_memory_offset"].int64_param = offset


def from_region(segment: ClientsMemory, *outputs: str) -> pb.ModelInferRequest:
    """Return a request whose prompt is at the beginning of the segment, beside a raw seed."""
    prompt = raw("BYTES", ["a lake"])
    assert segment.buf is not None
    segment.buf[: len(prompt)] = prompt
    request = infer_request(MODEL, outputs, seed=7)
    request.inputs.insert(0, request.inputs.add(name="prompt", datatype="BYTES", shape=[1, 1]))
    del request.inputs[-1]
    lies(request.inputs[0], len(prompt))
    return request


async def code(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code().name, raised.value.details() or ""


def unregister(stub: Any, name: str = "all") -> Any:
    return stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(name=name))


async def test_an_input_comes_from_there_beside_raw_ones(segment: ClientsMemory) -> None:
    async with at_home(segment) as (_, stub):
        answer = await stub.ModelInfer(from_region(segment, "seed"), timeout=PATIENCE_S)
    seed = array(answer, "seed")
    assert seed is not None
    assert seed.item() == 7


async def test_an_output_goes_there_and_leaves_an_empty_entry(segment: ClientsMemory) -> None:
    async with at_home(segment) as (_, stub):
        plain = await stub.ModelInfer(from_region(segment, "image", "seed"), timeout=PATIENCE_S)
        request = from_region(segment, "image", "seed")
        lies(request.outputs[0], BYTES - PAGE, PAGE)
        answer = await stub.ModelInfer(request, timeout=PATIENCE_S)
        await unregister(stub)  # it is free once the answer is there
    wanted, seed = plain.raw_output_contents
    assert list(answer.raw_output_contents) == [b"", seed]
    assert [output.name for output in answer.outputs] == ["image", "seed"]
    assert segment.buf is not None
    assert bytes(segment.buf[PAGE : PAGE + len(wanted)]) == wanted


async def test_an_output_that_does_not_fit_is_refused_by_name(segment: ClientsMemory) -> None:
    async with at_home(segment) as (_, stub):
        request = from_region(segment, "image")
        lies(request.outputs[0], 5, PAGE)
        name, text = await code(stub.ModelInfer(request, timeout=PATIENCE_S))
        assert name == "INVALID_ARGUMENT"
        assert text.startswith("image: has ")
        assert "gives it 5 of region 'all'" in text
        await unregister(stub)


async def test_a_wrong_place_is_refused_before_anything_runs(segment: ClientsMemory) -> None:
    async with at_home(segment) as (home, stub):
        for region, byte_size, offset, wanted in (
            ("nosuch", 10, 0, "NOT_FOUND"),
            ("all", BYTES + 1, 0, "INVALID_ARGUMENT"),
            ("all", 10, BYTES, "INVALID_ARGUMENT"),
            ("all", 10, -1, "INVALID_ARGUMENT"),
            ("all", 0, 0, "INVALID_ARGUMENT"),
        ):
            for which in ("inputs", "outputs"):
                request = from_region(segment, "image")
                lies(getattr(request, which)[0], byte_size, offset, region)
                found, text = await code(stub.ModelInfer(request, timeout=PATIENCE_S))
                assert found == wanted, text
        request = from_region(segment, "image")
        del request.inputs[0].parameters["shared_memory_byte_size"]
        _, text = await code(stub.ModelInfer(request, timeout=PATIENCE_S))
        assert "prompt: its parameter shared_memory_byte_size must be int64_param" in text
        assert home.text_encoder.left == []


async def test_a_segment_that_shrank_costs_an_error(segment: ClientsMemory) -> None:
    async with at_home(segment) as (_, stub):
        request = from_region(segment, "image")
        lies(request.outputs[0], PAGE, PAGE)
        os.truncate(SHARED_MEMORY / segment.name, 0)
        found, text = await code(stub.ModelInfer(request, timeout=PATIENCE_S))
        assert found == "INVALID_ARGUMENT"
        assert "which has 0 bytes" in text
        os.truncate(SHARED_MEMORY / segment.name, BYTES)
        await stub.ModelInfer(from_region(segment, "seed"), timeout=PATIENCE_S)


async def test_a_region_is_held_until_its_request_ends(segment: ClientsMemory) -> None:
    async with at_home(segment, held()) as (home, stub):
        call = stub.ModelInfer(from_region(segment, "seed"), timeout=PATIENCE_S)
        await until(lambda: home.denoiser.running)
        found, text = await code(unregister(stub))
        assert (found, "'all'" in text) == ("FAILED_PRECONDITION", True)
        let(home)
        await call
        await unregister(stub)


async def test_who_leaves_lets_go(segment: ClientsMemory) -> None:
    async with at_home(segment, held()) as (home, stub):
        call = stub.ModelInfer(from_region(segment, "seed"), timeout=PATIENCE_S)
        await until(lambda: home.denoiser.running)
        call.cancel()
        await until(lambda: home.records.records)
        await unregister(stub)


async def test_a_stream_lets_go_before_its_last_response(segment: ClientsMemory) -> None:
    async with at_home(segment) as (_, stub):
        stream = stub.ModelStreamInfer(timeout=PATIENCE_S)
        for _ in range(3):
            request = from_region(segment, "image")
            lies(request.outputs[0], BYTES - PAGE, PAGE)
            await stream.write(request)
            response = await stream.read()
            assert response.error_message == ""
            assert list(response.infer_response.raw_output_contents) == [b""]
            await unregister(stub)
            await stub.SystemSharedMemoryRegister(
                pb.SystemSharedMemoryRegisterRequest(
                    name="all", key=f"/{segment.name}", byte_size=BYTES
                )
            )
        await stream.done_writing()
        assert await stream.read() is EOF


async def test_it_is_off_unless_it_is_asked_for(segment: ClientsMemory) -> None:
    async with house() as home:
        stub = stub_of(home.channel)
        for call in (
            unregister(stub),
            stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest()),
            stub.SystemSharedMemoryRegister(
                pb.SystemSharedMemoryRegisterRequest(name="a", key=f"/{segment.name}", byte_size=9)
            ),
            stub.ModelInfer(from_region(segment), timeout=PATIENCE_S),
        ):
            found, text = await code(call)
            assert (found, "gateway.shared_memory: true" in text) == ("UNIMPLEMENTED", True)
        metadata = await stub.ServerMetadata(pb.ServerMetadataRequest())
        assert "system_shared_memory" not in metadata.extensions
