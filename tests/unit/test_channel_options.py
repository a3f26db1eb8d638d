"""Each option of a gRPC channel does what it is set for, and is missed where it is left out.

gRPC counts these times itself, in seconds, so all scenes play at once: the file takes as
long as the longest, a little over a minute.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.connection_scenes import (
    POUR,
    QUIET,
    SCENE_S,
    Options,
    client_pauses,
    client_takes_no_bytes,
    client_vanishes,
    pinged,
    served,
    server_vanishes,
)
from support.patience import PATIENCE_S
from support.raw_http2 import RawConnection, raw_connection

from leyden_client import aio
from leyden_server.config import GatewayConfig
from leyden_server.gateway.channel_options import PEER_OPTIONS, server_options

GIVEN_UP_WITHIN_S = 35.0
PAUSE_S = 12.0
TWO_PINGS_S = 33.0

SERVER = server_options(GatewayConfig())

TIME = "grpc.keepalive_time_ms"
PING_TIMEOUT = "grpc.http2.ping_timeout_ms"
TCP_TIMEOUT = "grpc.keepalive_timeout_ms"
PERMIT = "grpc.keepalive_permit_without_calls"
MIN_INTERVAL = "grpc.http2.min_ping_interval_without_data_ms"
MAX_PINGS = "grpc.http2.max_pings_without_data"


def without(options: Options, name: str) -> Options:
    rest = tuple(option for option in options if option[0] != name)
    assert len(rest) == len(options) - 1
    return rest


Pinged = Callable[[], Coroutine[Any, Any, RawConnection]]
Timed = Callable[[], Coroutine[Any, Any, float]]

WELCOME: dict[str, Pinged] = {
    "every 5 s, idle": lambda: pinged(SERVER, 5, None),
    "every 5 s, in a call": lambda: pinged(SERVER, 5, QUIET),
    "every 10 s, idle": lambda: pinged(SERVER, 10, None),
    "every 10 s, in a call": lambda: pinged(SERVER, 10, QUIET),
}
PUNISHED: dict[str, Pinged] = {
    "every second": lambda: pinged(SERVER, 1, QUIET),
    f"every 5 s, without {MIN_INTERVAL}": lambda: pinged(without(SERVER, MIN_INTERVAL), 5, QUIET),
    f"every 5 s, idle, without {PERMIT}": lambda: pinged(without(SERVER, PERMIT), 5, None),
}
GIVEN_UP: dict[str, Timed] = {
    "idle client": lambda: client_vanishes(SERVER, None),
    "client of a quiet call": lambda: client_vanishes(SERVER, QUIET),
    "client of a full call": lambda: client_vanishes(SERVER, POUR),
    "client that takes no bytes": lambda: client_takes_no_bytes(SERVER),
    "server of a new call": lambda: server_vanishes(PEER_OPTIONS, 0),
    "server of an old call": lambda: server_vanishes(PEER_OPTIONS, TWO_PINGS_S),
}
KEPT: dict[str, Timed] = {
    f"client, without {TIME}": lambda: client_vanishes(without(SERVER, TIME), QUIET),
    f"client, without {PING_TIMEOUT}": lambda: client_vanishes(
        without(SERVER, PING_TIMEOUT), QUIET
    ),
    f"idle client, without {PERMIT}": lambda: client_vanishes(without(SERVER, PERMIT), None),
    f"server, without {TIME}": lambda: server_vanishes(without(PEER_OPTIONS, TIME), 0),
    f"server, without {PING_TIMEOUT}": lambda: server_vanishes(
        without(PEER_OPTIONS, PING_TIMEOUT), 0
    ),
}
OF_TCP_TIMEOUT: dict[str, Timed] = {
    "takes no bytes": lambda: client_takes_no_bytes(SERVER),
    f"takes no bytes, without {TCP_TIMEOUT}": lambda: client_takes_no_bytes(
        without(SERVER, TCP_TIMEOUT)
    ),
}
OF_MAX_PINGS = {
    f"old call, without {MAX_PINGS}": lambda: server_vanishes(
        without(PEER_OPTIONS, MAX_PINGS), TWO_PINGS_S
    )
}
PAUSES = {"pause": lambda: client_pauses(SERVER, PAUSE_S)}

Scenes = dict[str, asyncio.Task[Any]]


@pytest.fixture(scope="module")
async def scenes() -> AsyncIterator[Scenes]:
    """Every scene, begun; each test waits for its own."""
    kinds = (WELCOME, PUNISHED, GIVEN_UP, KEPT, OF_TCP_TIMEOUT, OF_MAX_PINGS, PAUSES)
    begun = {name: asyncio.create_task(scene()) for kind in kinds for name, scene in kind.items()}
    yield begun
    for task in begun.values():
        task.cancel()
    await asyncio.gather(*begun.values(), return_exceptions=True)


@pytest.mark.parametrize("scene", WELCOME)
async def test_a_ping_every_5_s_or_slower_is_never_punished(scene: str, scenes: Scenes) -> None:
    connection = await scenes[scene]
    assert connection.goaway is None
    assert connection.pings_answered == connection.pings_sent >= 5


@pytest.mark.parametrize("scene", PUNISHED)
async def test_who_pings_more_often_than_allowed_is_sent_away(scene: str, scenes: Scenes) -> None:
    assert (await scenes[scene]).goaway == b"too_many_pings"


@pytest.mark.parametrize("scene", GIVEN_UP)
async def test_a_peer_that_vanished_is_given_up_within_35_s(scene: str, scenes: Scenes) -> None:
    assert await scenes[scene] < GIVEN_UP_WITHIN_S


@pytest.mark.parametrize("scene", KEPT)
async def test_without_the_option_it_is_kept_for_longer(scene: str, scenes: Scenes) -> None:
    assert await scenes[scene] > GIVEN_UP_WITHIN_S


async def test_without_the_option_the_third_ping_of_a_quiet_call_is_late(scenes: Scenes) -> None:
    [name] = OF_MAX_PINGS
    assert await scenes[name] >= SCENE_S - TWO_PINGS_S > await scenes["server of an old call"]


async def test_unread_bytes_are_waited_for_as_long_as_the_option_says(scenes: Scenes) -> None:
    ours, by_default = [await scenes[name] for name in OF_TCP_TIMEOUT]
    assert by_default < 25 < ours


async def test_a_client_whose_network_stands_still_for_a_moment_is_kept(scenes: Scenes) -> None:
    assert await scenes["pause"]


async def test_an_old_connection_is_sent_away_and_its_call_lives_on() -> None:
    options = server_options(GatewayConfig(max_connection_age_s=1))
    async with served(options) as (port, service), raw_connection(port) as connection:
        connection.call(QUIET, bytes(5))
        await asyncio.wait_for(connection.sent_away.wait(), PATIENCE_S)
        assert connection.goaway == b"max_age"
        # A second more, the grace that there is not, would have ended the call.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.ended.wait(), 2)


def test_an_age_of_0_is_none() -> None:
    options = dict(server_options(GatewayConfig(max_connection_age_s=0)))
    assert "grpc.max_connection_age_ms" not in options


async def test_several_gateways_listen_on_one_port() -> None:
    async with served(SERVER) as (port, _):
        second = grpc.aio.server(options=SERVER)
        assert second.add_insecure_port(f"127.0.0.1:{port}") == port
        alone = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        with pytest.raises(RuntimeError, match="Failed to bind"):
            alone.add_insecure_port(f"127.0.0.1:{port}")


def test_grpc_knows_every_option_by_name() -> None:
    core = find_spec("grpc._cython.cygrpc")
    assert core is not None
    assert core.origin is not None
    known = Path(core.origin).read_bytes()
    named = {name for name, _ in (*SERVER, *PEER_OPTIONS, *aio._CHANNEL_OPTIONS)}
    assert {name for name in named if name.encode() not in known} == set()
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms" not in known
