"""The directory of several Gateways, as an actor of a real Ray."""

import asyncio
import contextlib
import socket
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import ray
from support.local_ray import local_ray
from support.patience import PATIENCE_S
from support.running_server import eventually

from leyden_server.config import ServerConfig
from leyden_server.controller import directory, json_lines
from leyden_server.controller.directory import NAMESPACE, RayDirectory
from leyden_server.controller.launcher import LeydenServer
from leyden_server.controller.owners import GONE_AFTER_S, HOLD_S
from leyden_server.errors import StartupError, UnavailableError

A, B = "10.0.0.1:1", "10.0.0.2:1"


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray():
        yield


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the actor may take longer to start than a request waits for it."""
    monkeypatch.setattr(directory, "PATIENCE_S", PATIENCE_S)


@asynccontextmanager
async def joined(name: str, address: str, names: list[str]) -> AsyncIterator[RayDirectory]:
    """One Gateway's directory, by an address and the list that it keeps of its names."""
    one = RayDirectory(name, address, lambda: names)
    try:
        await one.ready()
        yield one
    finally:
        await one.close()


def named_actors() -> list[str]:
    return [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]


async def test_two_gateways_share_one_directory() -> None:
    async with joined("share", A, []) as first, joined("share", B, []) as second:
        assert await first.claim("x") is None
        assert await first.claim("x") is None
        assert await second.claim("x") == A
        assert (await first.owner("x"), await second.owner("x")) == (None, A)
        assert await second.owner("y") is None
        first.forget("x")
        # It travels with the next call, after which the name is free.
        assert await first.claim("y") is None
        assert await second.claim("x") is None
        second.forget("x")
        await _until(lambda: first.owner("x"), None)  # or with the next beat
        drawn = first.draw_name()
        assert str(uuid.UUID(drawn)) == drawn != first.draw_name()
        assert (await first.owner(drawn), await second.owner(drawn)) == (None, A)
        assert named_actors().count("share") == 1
    # It ends by itself, which the last to leave does not await.
    eventually(lambda: "share" not in named_actors())


async def test_a_claim_is_one_call() -> None:
    async with joined("quick", A, []) as one:
        ratios = []
        for number in range(200):
            claim_s = await _seconds(one.claim(f"name-{number}"))
            ratios.append(claim_s / await _seconds(one._actor.owner.remote("x")))
    # A call of Ray, or a look at the cluster, would be as much and more.
    assert statistics.median(ratios) < 0.7


@pytest.mark.parametrize("for_good", [False, True])
async def test_a_killed_directory_is_told_all_names_before_it_gives_any(for_good: bool) -> None:
    name = f"killed-{for_good}"
    async with joined(name, A, ["x"]) as first, joined(name, B, []) as second:
        assert await first.claim("x") is None
        actor = ray.get_actor(name, namespace=NAMESPACE)
        host, port, _ = await actor.listen.remote()
        killed_s = time.monotonic()
        ray.kill(actor, no_restart=for_good)
        await _until_it_fails(actor)
        eventually(lambda: _is_closed(host, port))  # its process answers for a moment yet
        assert await second.claim("x") == A
        assert time.monotonic() - killed_s >= HOLD_S
        assert await second.claim("y") is None


async def test_a_silent_owner_is_gone_with_its_names() -> None:
    async with joined("silent", B, []) as second:
        first = RayDirectory("silent", A, lambda: ["x"])
        assert await first.claim("x") is None
        first._beats.cancel()  # as where its process has died
        started_s = time.monotonic()
        while await second.owner("x") == A:
            assert time.monotonic() - started_s < PATIENCE_S
            await asyncio.sleep(0.05)
        assert time.monotonic() - started_s >= GONE_AFTER_S - 1.5
        assert await second.claim("x") is None
        await first.close()


@pytest.mark.parametrize("turns", range(4))
async def test_a_gateway_leaves_while_a_beat_is_answered(turns: int) -> None:
    """However far the answer has come through the event loop when the beats are cancelled."""
    async with asyncio.timeout(PATIENCE_S), joined(f"answered-{turns}", A, []) as one:
        assert one._caller is not None
        await _until(_has_begun(one._caller), True)
        one._caller._awaited[0].set_result(True)
        for _ in range(turns):
            await asyncio.sleep(0)


async def test_a_directory_that_does_not_answer_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with joined("held", A, []) as one:
        await one.claim("warm")
        monkeypatch.setattr(directory, "PATIENCE_S", 0.2)
        actor = ray.get_actor("held", namespace=NAMESPACE)
        ray.kill(actor, no_restart=False)
        await _until_it_fails(actor)
        with pytest.raises(UnavailableError) as caught:
            await one.claim("x")
        assert caught.value.reason == "DIRECTORY_UNAVAILABLE"


async def test_a_connection_that_says_nothing_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the actor's node was cut off, and it runs elsewhere by now."""
    heard = []

    def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer)

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent, joined("cut off", A, []) as one:
        monkeypatch.setattr(directory, "ANSWER_TIMEOUT_S", 1.0)
        host, port = silent.sockets[0].getsockname()
        cut_off = await json_lines.Caller.connect(host, port, "secret")
        assert one._caller is not None
        one._caller.close()
        one._caller = cut_off  # at once, or a beat would make one of its own between
        claims = [one.claim(f"name-{number}") for number in range(3)]
        assert await asyncio.gather(*claims) == [None] * 3
        for writer in heard:
            writer.close()


async def _seconds(call: Awaitable[object]) -> float:
    started_s = time.perf_counter()
    await call
    return time.perf_counter() - started_s


async def _until(ask: Callable[[], Awaitable[object]], answer: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await ask() != answer:
            pass


def _has_begun(caller: json_lines.Caller) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        await asyncio.sleep(0)
        return bool(caller._awaited)

    return look


async def _until_it_fails(actor: "ray.actor.ActorHandle") -> None:
    """Wait until a kill has arrived."""
    with contextlib.suppress(ray.exceptions.RayActorError):
        while True:
            await actor.owner.remote("x")


def _is_closed(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port)):
        return False
    return True


def test_a_server_is_not_started_in_a_process_that_has_a_ray() -> None:
    """It would end that Ray with itself."""
    with pytest.raises(StartupError, match="connected to a Ray already"):
        LeydenServer(ServerConfig().replace(gateway={"port": 0})).__enter__()
    assert ray.is_initialized()
