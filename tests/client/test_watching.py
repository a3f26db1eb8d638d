"""Watching, starting and cancelling a generation by its request_id."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from support.patience import PATIENCE_S
from support.scripted_server import (
    Fail,
    Hold,
    ScriptedServer,
    chunks,
    image,
    numbered,
    progress,
    summary,
    whole_script,
)
from support.told_events import LOST, WHOLE, told

from leyden_client import (
    AsyncClient,
    Client,
    EventsExpiredError,
    GenerationNotFoundError,
    OverloadedError,
    Summary,
)

DATA = bytes(range(256)) * 40


def test_watch_gives_all_events(server: ScriptedServer, client: Client) -> None:
    server.watch_script = whole_script()
    assert told(list(client.watch("mine"))) == WHOLE
    (watch,) = server.watches
    assert watch.request_id == "mine"
    assert not watch.HasField("after_event_index")


async def test_watch_goes_on_after_an_event(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    server.watch_script = whole_script()[3:]
    events = [event async for event in async_client.watch("mine", 2)]
    assert told(events) == WHOLE[3:]
    assert server.watches[0].after_event_index == 2


def test_watch_after_more_than_there_is_gets_what_comes(
    server: ScriptedServer, client: Client
) -> None:
    server.watch_script = whole_script()[3:]
    assert told(list(client.watch("mine", 2))) == WHOLE[3:]
    # Event 3 is among what is known already: it is the newest that the server had.
    assert told(list(client.watch("mine", 3))) == WHOLE[4:]


def test_watch_comes_back_too(server: ScriptedServer, client: Client) -> None:
    script = whole_script()
    server.watch_scripts = [[*script[1:3], LOST], script[3:]]
    assert told(list(client.watch("mine", after_event_index=0))) == WHOLE[1:]
    assert [watch.after_event_index for watch in server.watches] == [0, 2]


@pytest.mark.parametrize("cut", range(2, 6))
def test_watch_from_amid_the_chunks_of_an_image(
    server: ScriptedServer, client: Client, cut: int
) -> None:
    script = numbered(
        progress(1, image_index=1),
        image(DATA, 0, chunked=True),
        *chunks(DATA, [3000, 6000]),
        progress(2, image_index=1),
        image(b"one", 1),
        summary(2),
    )
    server.watch_scripts = [script[cut + 1 :], script]
    expected: list[object] = [(0, DATA), (1, 2), (1, b"one"), Summary]
    # An image belongs to its last chunk; what came before `cut` is known.
    assert told(list(client.watch("mine", cut))) == expected[max(0, cut - 3) :]


def test_watch_of_a_generation_that_nobody_knows(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(GenerationNotFoundError):
        list(client.watch("mine"))


def test_watch_of_events_that_are_not_kept(server: ScriptedServer, client: Client) -> None:
    info = error_details_pb2.ErrorInfo(reason="EVENTS_EXPIRED")
    server.watch_script = [Fail(grpc.StatusCode.OUT_OF_RANGE, "no longer kept", [info])]
    with pytest.raises(EventsExpiredError):
        list(client.watch("mine", 4))


def test_leaving_a_watch_leaves_the_generation(server: ScriptedServer, client: Client) -> None:
    server.watch_script = [*whole_script()[:2], Hold()]
    events = client.watch("mine")
    next(events)
    events.close()
    assert server.cancelled.wait(PATIENCE_S)
    assert server.cancels == []


def test_start_returns_once_the_request_is_accepted(server: ScriptedServer, client: Client) -> None:
    server.script = [*whole_script()[:1], Hold()]
    request_id = client.start_image("a prompt", priority=2)
    (request,) = server.requests
    assert request.request_id == request_id
    assert request.linger_duration.seconds == 600
    assert request.priority == 2
    assert server.cancelled.wait(PATIENCE_S)
    assert server.cancels == []


async def test_start_that_is_refused(server: ScriptedServer, async_client: AsyncClient) -> None:
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL")
    server.script = [Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", [info])]
    with pytest.raises(OverloadedError):
        await async_client.start_image("a prompt")
    with pytest.raises(ValueError, match="more than 0"):
        await async_client.start_image("a prompt", linger_s=0)


async def test_start_that_is_left_is_cancelled(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    server.script = [Hold()]
    starting = asyncio.create_task(async_client.start_image("a prompt"))
    assert await asyncio.to_thread(server.held.wait, PATIENCE_S)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server.cancels == [server.requests[0].request_id]


def test_cancel(server: ScriptedServer, client: Client) -> None:
    client.cancel("mine")
    assert server.cancels == ["mine"]
    info = error_details_pb2.ErrorInfo(reason="GENERATION_NOT_FOUND")
    server.cancel_fails = Fail(grpc.StatusCode.NOT_FOUND, "no such generation", [info])
    with pytest.raises(GenerationNotFoundError):
        client.cancel("yours")
