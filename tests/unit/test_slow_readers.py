"""Clients that stop reading: they lock nobody out, and are told why they were cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from support.gateways import generate, kinds, read, read_until, refusal, until, watch
from support.house import House, StubVae, house
from support.running_server import details_of

MIB = 2**20

SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
"""Of a client that takes little before it is read from."""


@asynccontextmanager
async def gateway(size_bytes: int = 12 * MIB, **settings: Any) -> AsyncIterator[House]:
    async with house(
        vae=StubVae(size_bytes=size_bytes), channel_options=SMALL_WINDOW, **settings
    ) as home:
        yield home


def open_images(home: House) -> int:
    return home.catalog.get("").line.open_images


async def test_a_reader_that_stops_is_cut_off_and_holds_nothing() -> None:
    async with gateway(write_timeout_s=0.3) as home:
        call = generate(home)
        await read_until(call, "text_encoded")
        await until(lambda: home.records.records)
        (record,) = home.records.records
        assert (record.code, record.reason) == ("RESOURCE_EXHAUSTED", "READER_TOO_SLOW")
        assert record.images_sent == 0
        assert open_images(home) == 0
        assert home.generations.names == ()
        # Whoever reads on is told so, after what was on its way.
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = details_of(error)
        assert details[ErrorInfo].reason == "READER_TOO_SLOW"
        assert details[ErrorInfo].metadata["write_timeout_s"] == "0.3"
        assert RetryInfo not in details, "trying again would not help"


async def test_stopped_readers_lock_nobody_out() -> None:
    """64 connections once held all open images for as long as they stayed."""
    async with gateway(write_timeout_s=0.3, max_open_images=8, max_waiting_images=8) as home:
        stopped = [generate(home, request_id=f"stopped-{i}") for i in range(8)]
        for call in stopped:
            await read_until(call, "text_encoded")
        await until(lambda: open_images(home) == 0)
        assert kinds(await read(generate(home)))[-1] == "summary"


async def test_beyond_the_bound_whoever_holds_most_is_cut_off() -> None:
    async with gateway(write_timeout_s=60, max_unsent_bytes=30 * MIB) as home:
        most = generate(home, request_id="most", image_count=2)
        await read_until(most, "text_encoded")
        await until(lambda: home.generations._homes.by_name["most"].log.closed)
        less = generate(home, request_id="less")
        await read_until(less, "text_encoded")
        await until(lambda: home.records.records)
        (record,) = home.records.records
        assert (record.request_id, record.reason) == ("most", "READER_TOO_SLOW")
        assert "unread" in record.message
        assert kinds(await read(less))[-1] == "summary"


async def test_a_slow_watcher_does_not_hold_up_another() -> None:
    async with gateway(write_timeout_s=60) as home:
        slow = generate(home, 60)
        await read_until(slow, "text_encoded")
        assert kinds(await read(watch(home)))[-1] == "summary"
        assert kinds(await read(slow))[-1] == "summary"


@pytest.mark.parametrize("turn", range(8))
async def test_a_client_that_closes_during_a_write_has_left(turn: int) -> None:
    """It was logged as a defect, with a traceback, 128 times of 128."""
    del turn
    async with gateway(write_timeout_s=60) as home:
        call = generate(home)
        await read_until(call, "denoise_progress")
        await until(lambda: home.generations._homes.by_name["mine"].log.closed)
        await asyncio.sleep(0)
        call.cancel()
        await until(lambda: home.records.records)
        assert [record.code for record in home.records.records] == ["CANCELLED"]
        assert not home.records.defects
