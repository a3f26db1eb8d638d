import os
from collections.abc import AsyncIterator, Iterator

import pytest
from tritonclient.grpc import InferenceServerClient, aio


@pytest.fixture(scope="session")
def address() -> str:
    return os.environ["LEYDEN_ADDRESS"]


@pytest.fixture
def client(address: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(address) as client:
        yield client


@pytest.fixture
async def aio_client(address: str) -> AsyncIterator[aio.InferenceServerClient]:
    async with aio.InferenceServerClient(address) as client:
        yield client
