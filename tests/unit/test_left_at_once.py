"""Generations that are left before their first turn: they hold nothing afterwards."""

import asyncio

from support.gateways import until
from support.house import house
from support.patience import PATIENCE_S

from leyden_server.generations.account import Account
from leyden_server.generations.home import Caller
from leyden_server.generations.parameters import GenerationRequest
from leyden_server.generations.rules import Vocabulary

ONE_AT_ONCE = Account(name="alice", key_id="aaaaaaaa", images_at_once=1)


async def test_its_model_its_place_and_its_keys_image_are_given_back() -> None:
    async with house() as home:
        for left in range(2):
            caller = Caller("ipv4:127.0.0.1:1", account=ONE_AT_ONCE)
            request = GenerationRequest("a cat")
            watching = await home.generations.start(request, caller, Vocabulary())
            watching.leave()
            await until(lambda: len(home.records.records) == left + 1)  # noqa: B023
        assert {record.code for record in home.records.records} == {"CANCELLED"}
        served = home.catalog.get("")
        assert served.line.open_images == 0
        await asyncio.wait_for(served.drain(None), PATIENCE_S)
