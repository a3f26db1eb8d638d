"""API keys over real gRPC: who is let in, what each may, whose generations are whose."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.gateways import (
    Owners,
    held,
    kinds,
    let,
    read,
    read_until,
    reason,
    refusal,
    request,
    until,
)
from support.house import House, house
from support.patience import PATIENCE_S
from support.running_server import details_of

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import model_service_pb2 as model_pb
from leyden.v1 import model_service_pb2_grpc as model_grpc
from leyden_server.api_keys.key import new_key
from leyden_server.api_keys.key_file import KeyEntry, KeyFile

Metadata = tuple[tuple[str, str], ...]


@dataclass
class Ring:
    """A key file, and the keys that it knows the hashes of."""

    path: Path
    keys: dict[str, str]
    entries: dict[str, KeyEntry]

    def add(self, name: str, **limits: object) -> None:
        self.keys[name] = new_key()
        self.entries[name] = KeyEntry.of(self.keys[name], name, **limits)
        self.write()

    def write(self) -> None:
        KeyFile(keys=tuple(self.entries.values())).write(self.path)

    def of(self, name: str) -> Metadata:
        return (("authorization", f"Bearer {self.keys[name]}"),)


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    ring = Ring(tmp_path / "keys.yaml", {}, {})
    ring.add("alice")
    ring.add("bob")
    ring.add("ops", operator=True)
    return ring


@pytest.fixture
async def home(ring: Ring) -> AsyncIterator[House]:
    async with house(denoiser=held(), api_keys=str(ring.path)) as home:
        yield home


def generate(home: House, metadata: Metadata, linger_s: float = 0.0, **fields: Any) -> Any:
    asked = request(linger_s, **fields)
    return home.images.GenerateImage(asked, metadata=metadata, timeout=PATIENCE_S)


def watch(home: House, metadata: Metadata, request_id: str = "mine") -> Any:
    asked = pb.WatchGenerationRequest(request_id=request_id)
    return home.images.WatchGeneration(asked, metadata=metadata, timeout=PATIENCE_S)


def cancel(home: House, metadata: Metadata, request_id: str = "mine") -> Any:
    asked = pb.CancelGenerationRequest(request_id=request_id)
    return home.images.CancelGeneration(asked, metadata=metadata, timeout=PATIENCE_S)


async def whole(home: House, metadata: Metadata, **fields: Any) -> None:
    let(home)
    assert kinds(await read(generate(home, metadata, **fields)))[-1] == "summary"


async def test_a_key_lets_in(home: House, ring: Ring) -> None:
    await whole(home, ring.of("alice"))
    assert [record.key for record in home.records.records] == ["alice"]
    models: Any = model_grpc.ModelServiceStub(home.channel)
    await models.ListModels(model_pb.ListModelsRequest(), metadata=ring.of("bob"))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_written_as_one_likes(home: House, ring: Ring, scheme: str) -> None:
    await whole(home, (("authorization", f"{scheme} {ring.keys['alice']}"),))


async def test_without_a_valid_key_every_call_ends_with_one_text(home: House, ring: Ring) -> None:
    known_id = f"{ring.keys['alice'][:13]}{new_key()[13:]}"
    wrong: list[Metadata] = [
        (),
        (("authorization", "Bearer"),),
        (("authorization", f"Basic {ring.keys['alice']}"),),
        (("authorization", ring.keys["alice"]),),
        (("authorization", f"Bearer {new_key()}"),),
        (("authorization", f"Bearer {known_id}"),),
        (("authorization", f"Bearer {ring.keys['alice']}x"),),
        (("api-key", ring.keys["alice"]),),
    ]
    said = set()
    models: Any = model_grpc.ModelServiceStub(home.channel)
    for metadata in wrong:
        for call in (
            generate(home, metadata),
            watch(home, metadata),
            cancel(home, metadata),
            models.ListModels(model_pb.ListModelsRequest(), metadata=metadata),
        ):
            error = await refusal(call)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert reason(error) == "UNAUTHENTICATED"
            said.add(error.details())
    assert len(said) == 1
    told = home.records.records
    assert len(told) == 4 * len(wrong)
    assert {(record.code, record.key) for record in told} == {("UNAUTHENTICATED", "")}
    assert {record.method.rpartition("/")[2] for record in told} == {
        "GenerateImage",
        "WatchGeneration",
        "CancelGeneration",
        "ListModels",
    }
    assert all(record.peer.startswith("ipv4:127.0.0.1:") for record in told)


async def test_a_method_that_is_not_there_tells_a_stranger_nothing(home: House, ring: Ring) -> None:
    call: Any = home.channel.unary_unary("/leyden.v1.Nothing/Nothing", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", timeout=PATIENCE_S, metadata=ring.of("alice"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def reflected(home: House, metadata: Metadata = ()) -> bool:
    stub = reflection_pb2_grpc.ServerReflectionStub(home.channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    call: Any = stub.ServerReflectionInfo(iter(asked), metadata=metadata, timeout=PATIENCE_S)
    try:
        answers = [answer async for answer in call]
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return False
        raise
    return bool(answers[0].list_services_response.service)


async def healthy(home: House) -> bool:
    stub = health_pb2_grpc.HealthStub(home.channel)
    try:
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return False
        raise
    return True


@pytest.mark.parametrize(
    ("opened", "health", "reflection"),
    [
        (None, True, False),
        ((), False, False),
        (("reflection",), False, True),
        (("health", "reflection"), True, True),
    ],
)
async def test_health_and_reflection_are_open_as_one_likes(
    ring: Ring, opened: tuple[str, ...] | None, health: bool, reflection: bool
) -> None:
    settings: dict[str, Any] = {} if opened is None else {"open_without_key": opened}
    async with house(api_keys=str(ring.path), **settings) as home:
        assert await healthy(home) is health
        assert await reflected(home) is reflection
        assert await reflected(home, ring.of("alice"))


async def test_a_key_has_its_models_and_priorities(home: House, ring: Ring) -> None:
    ring.add("few", models=["another-model"], most_priority=3)
    await until(lambda: home.records.notes)
    error = await refusal(generate(home, ring.of("few")))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert reason(error) == "MODEL_NOT_ALLOWED"
    ring.add("late", most_priority=7)
    await until(lambda: len(home.records.notes) == 2)
    error = await refusal(generate(home, ring.of("late"), priority=6))
    assert (error.code(), reason(error)) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PRIORITY_NOT_ALLOWED",
    )
    await whole(home, ring.of("late"), priority=7)
    await whole(home, ring.of("late"))
    assert [r.priority for r in home.records.records if r.code == "OK"] == [7, 7]


async def test_a_rate_is_refused_with_when_to_come_back(home: House, ring: Ring) -> None:
    ring.add("slow", images_per_minute=2)
    await until(lambda: home.records.notes)
    await whole(home, ring.of("slow"), image_count=2)
    error = await refusal(generate(home, ring.of("slow")))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(error) == "RATE_LIMITED"
    delay_s = details_of(error)[RetryInfo].retry_delay.ToMilliseconds() / 1000
    assert 20 < delay_s <= 30
    pushback = dict(error.trailing_metadata())["grpc-retry-pushback-ms"]
    assert int(pushback) == pytest.approx(delay_s * 1000, abs=1)
    await whole(home, ring.of("alice"))


async def test_images_at_once_are_free_again_however_they_end(home: House, ring: Ring) -> None:
    ring.add("narrow", images_at_once=1)
    await until(lambda: home.records.notes)
    narrow = ring.of("narrow")
    call = generate(home, narrow)
    await read_until(call, "text_encoded")
    assert reason(await refusal(generate(home, narrow, request_id="b"))) == "TOO_MANY_AT_ONCE"
    assert reason(await refusal(generate(home, narrow, request_id="b", image_count=2))) == (
        "TOO_MANY_IN_ONE"
    )
    joined = generate(home, narrow)  # the same generation takes nothing more
    await read_until(joined, "text_encoded")
    call.cancel()
    joined.cancel()
    await until(lambda: not home.denoiser.running)
    call = generate(home, narrow, 60)
    await read_until(call, "text_encoded")
    await cancel(home, narrow)
    assert reason(await refusal(call)) == "CANCELLED_BY_REQUEST"
    await whole(home, narrow)


async def test_what_the_line_refuses_costs_the_key_nothing(ring: Ring) -> None:
    ring.add("counted", images_per_minute=1, images_at_once=1)
    small: dict[str, Any] = {"max_waiting_images": 1, "max_open_images": 1, "max_image_count": 1}
    async with house(denoiser=held(), api_keys=str(ring.path), **small) as home:
        call = generate(home, ring.of("alice"), request_id="first")
        await read_until(call, "text_encoded")
        error = await refusal(generate(home, ring.of("counted"), request_id="second"))
        assert reason(error) == "QUEUE_FULL"
        let(home)
        await read(call)
        await whole(home, ring.of("counted"))


async def test_each_key_has_its_own_names(home: House, ring: Ring) -> None:
    alice, bob = ring.of("alice"), ring.of("bob")
    hers, his = generate(home, alice, 60, seed=1), generate(home, bob, 60, seed=2)
    begun = [await read_until(call, "text_encoded") for call in (hers, his)]
    assert {event.request_id for events in begun for event in events} == {"mine"}
    let(home)
    assert (await read(hers))[-2].image.seed == 1
    assert (await read(his))[-2].image.seed == 2
    assert (await read(watch(home, bob)))[-2].image.seed == 2


async def test_to_another_key_a_generation_is_not_there(home: House, ring: Ring) -> None:
    alice, bob, ops = ring.of("alice"), ring.of("bob"), ring.of("ops")
    call = generate(home, alice, 60)
    await read_until(call, "text_encoded")
    texts = set()
    for asked in (watch(home, bob), cancel(home, bob)):
        error = await refusal(asked)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        texts.add(error.details())
    absent = await refusal(watch(home, bob, "absent"))
    assert texts == {(absent.details() or "").replace("absent", "mine")}
    seen = watch(home, ops)
    await read_until(seen, "text_encoded")
    await cancel(home, ops)
    assert reason(await refusal(call)) == "CANCELLED_BY_REQUEST"


async def test_with_two_gateways_a_generation_still_belongs_to_its_key(ring: Ring) -> None:
    owners = Owners()
    settings: dict[str, Any] = {"api_keys": str(ring.path), "join": owners.join, "replicas": 2}
    async with (
        house(denoiser=held(), **settings) as here,
        house(denoiser=held(), **settings) as there,
    ):
        alice, bob, ops = ring.of("alice"), ring.of("bob"), ring.of("ops")
        call = generate(here, alice, 60)
        await read_until(call, "text_encoded")
        seen = [watch(there, alice), watch(there, ops)]
        for watching in seen:
            await read_until(watching, "text_encoded")
        assert reason(await refusal(watch(there, bob))) == "GENERATION_NOT_FOUND"
        assert reason(await refusal(cancel(there, bob))) == "GENERATION_NOT_FOUND"
        his = generate(there, bob, 60, seed=5)  # a name of his own, of another generation
        await read_until(his, "text_encoded")
        assert there.denoiser.running
        joined = generate(there, alice, 60)
        await read_until(joined, "text_encoded")
        await cancel(there, alice)
        assert reason(await refusal(call)) == "CANCELLED_BY_REQUEST"
        let(there)
        assert (await read(his))[-2].image.seed == 5


async def test_a_name_that_the_gateway_drew_is_its_keys_at_the_other_one(ring: Ring) -> None:
    owners = Owners()
    settings: dict[str, Any] = {"api_keys": str(ring.path), "join": owners.join, "replicas": 2}
    async with (
        house(denoiser=held(), **settings) as here,
        house(denoiser=held(), **settings) as there,
    ):
        call = generate(here, ring.of("alice"), request_id="")
        drawn = (await read_until(call, "text_encoded"))[0].request_id
        for who in ("alice", "ops"):
            await read_until(watch(there, ring.of(who), drawn), "text_encoded")
        error = await refusal(watch(there, ring.of("bob"), drawn))
        assert reason(error) == "GENERATION_NOT_FOUND"


async def test_the_port_of_peers_is_no_way_past_the_door(ring: Ring) -> None:
    owners = Owners()
    async with house(denoiser=held(), join=owners.join, replicas=2) as home:
        await read_until(generate(home, ()), "text_encoded")
        (port,) = set(owners.owners.values())
        for channel in (
            grpc.aio.insecure_channel(port),
            grpc.aio.secure_channel(port, grpc.ssl_channel_credentials()),
        ):
            async with channel:
                stub = health_pb2_grpc.HealthStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_key_that_was_removed_is_refused_and_what_it_began_goes_on(
    home: House, ring: Ring
) -> None:
    call = generate(home, ring.of("alice"))
    await read_until(call, "text_encoded")
    del ring.entries["alice"]
    ring.write()
    await until(lambda: home.records.notes)
    assert home.records.notes[0].endswith("read again, 2 keys")
    error = await refusal(generate(home, ring.of("alice"), request_id="b"))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    let(home)
    assert kinds(await read(call))[-1] == "summary"


async def test_a_file_that_does_not_parse_leaves_the_keys_and_is_told_of(
    home: House, ring: Ring
) -> None:
    ring.path.write_text(f"keys: [{ring.keys['alice']}")
    await until(lambda: home.records.notes)
    (note,) = home.records.notes
    assert str(ring.path) in note
    assert note.endswith("gateway.api_keys: the keys of before stay")
    assert ring.keys["alice"].rpartition("_")[2] not in note
    await whole(home, ring.of("alice"))
    ring.path.unlink()
    await until(lambda: len(home.records.notes) == 2)
    await whole(home, ring.of("bob"))


async def test_connections_of_a_key_are_counted_while_they_have_a_call(ring: Ring) -> None:
    settings: dict[str, Any] = {"max_connections_per_key": 2, "api_keys": str(ring.path)}
    async with house(denoiser=held(), **settings) as home:
        alice = ring.of("alice")
        call: list[Any] = [generate(home, alice, request_id=f"a{n}") for n in range(3)]
        for each in call:
            await read_until(each, "text_encoded")
        async with other(home) as second, other(home) as third:
            more = _generate_on(second, alice, "b")
            await read_until(more, "text_encoded")
            error = await refusal(_generate_on(third, alice, "c"))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reason(error) == "TOO_MANY_CONNECTIONS"
            await read_until(_generate_on(third, ring.of("bob"), "c"), "text_encoded")
            more.cancel()
            await until(lambda: len(home.denoiser.running) == 4)
            await read_until(_generate_on(third, alice, "d"), "text_encoded")


def other(home: House) -> grpc.aio.Channel:
    """Return a channel with a connection of its own."""
    return grpc.aio.insecure_channel(home.address, [("grpc.use_local_subchannel_pool", 1)])


def _generate_on(channel: grpc.aio.Channel, metadata: Metadata, request_id: str) -> Any:
    stub: Any = House.stub_of(channel)
    asked = request(0.0, request_id=request_id)
    return stub.GenerateImage(asked, metadata=metadata, timeout=PATIENCE_S)


async def test_ten_thousand_keys_are_no_dearer_than_ten(ring: Ring) -> None:
    from leyden_server.api_keys.known_keys import ApiKeys

    entries = [KeyEntry.of(new_key(), f"k{n}") for n in range(10)]
    many = [
        entries[0].model_copy(update={"name": f"n{n}", "id": f"{n:08d}"}) for n in range(10_000)
    ]
    mine = KeyEntry.of(ring.keys["alice"], "alice")
    few, all_ = ApiKeys([mine, *entries]), ApiKeys([mine, *many])

    def best_s(keys: ApiKeys) -> float:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(200):
                keys.find(ring.keys["alice"])
            took.append(time.perf_counter() - began)
        return min(took)

    assert best_s(all_) < 3 * best_s(few)
