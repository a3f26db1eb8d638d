from collections.abc import AsyncIterator, Iterator

import pytest
from support.scripted_server import ScriptedServer, model, serve

from leyden_client import AsyncClient, Client


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer(models=[model("other", is_default=False), model()])
    running = serve(scripted)
    yield scripted
    # Lets go of a script that is held, whatever became of its test.
    scripted.release()
    running.stop(grace=None).wait()


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(server.target) as client:
        yield client


@pytest.fixture
async def async_client(server: ScriptedServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.target) as client:
        yield client
