"""Reflection by both names, asked as a client of v1 asks: with v1's messages, by its path."""

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from leyden.v1 import model_service_pb2
from leyden_server.gateway.reflection import add_reflection

SERVICE = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name
NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    add_reflection([SERVICE], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def ask(
    channel: grpc.aio.Channel, service: str, *requests: pb.ServerReflectionRequest
) -> list[pb.ServerReflectionResponse]:
    """Ask several things in one stream, as tools do."""
    call = channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        pb.ServerReflectionRequest.SerializeToString,
        pb.ServerReflectionResponse.FromString,
    )
    return [response async for response in call(iter(requests))]


def files(response: pb.ServerReflectionResponse) -> list[FileDescriptorProto]:
    return [
        FileDescriptorProto.FromString(file)
        for file in response.file_descriptor_response.file_descriptor_proto
    ]


@pytest.mark.parametrize("name", NAMES)
async def test_each_name_lists_the_services_and_both_names(
    channel: grpc.aio.Channel, name: str
) -> None:
    [response] = await ask(channel, name, pb.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in response.list_services_response.service}
    assert listed == {SERVICE, *NAMES}


@pytest.mark.parametrize("name", NAMES)
async def test_everything_that_is_listed_is_described(channel: grpc.aio.Channel, name: str) -> None:
    asked = [
        pb.ServerReflectionRequest(file_containing_symbol=listed) for listed in (SERVICE, *NAMES)
    ]
    responses = await ask(channel, name, *asked)
    described = {
        f"{file.package}.{service.name}"
        for response in responses
        for file in files(response)
        for service in file.service
    }
    assert described >= {SERVICE, *NAMES}


async def test_v1_is_described_by_its_own_messages(channel: grpc.aio.Channel) -> None:
    request = pb.ServerReflectionRequest(file_containing_symbol=NAMES[0])
    [response] = await ask(channel, NAMES[0], request)
    [file] = files(response)
    [method] = file.service[0].method
    assert method.input_type == ".grpc.reflection.v1.ServerReflectionRequest"
    assert method.output_type == ".grpc.reflection.v1.ServerReflectionResponse"
    by_name = pb.ServerReflectionRequest(file_by_filename=file.name)
    [again] = await ask(channel, NAMES[0], by_name)
    assert files(again) == [file]


async def test_what_is_unknown_is_an_answer_and_not_the_end(channel: grpc.aio.Channel) -> None:
    unknown = pb.ServerReflectionRequest(file_containing_symbol="no.such.Service")
    first, second = await ask(
        channel, NAMES[0], unknown, pb.ServerReflectionRequest(list_services="")
    )
    assert first.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert second.HasField("list_services_response")
