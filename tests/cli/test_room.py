"""Whether a replica waits for room, as a real Ray says it."""

from collections.abc import Iterator
from typing import Any

import pytest
import ray
from support.local_ray import local_ray
from support.running_server import eventually

from leyden_server.controller.room import waits_for_room


@pytest.fixture(autouse=True)
def _ray() -> Iterator[None]:
    with local_ray():
        yield


def test_who_waits_for_room_is_told_from_who_starts() -> None:
    class Replica:
        def ready(self) -> bool:
            return True

    actor: Any = ray.remote(Replica)
    there = actor.options(num_cpus=0.7).remote()
    assert ray.get(there.ready.remote())
    starting = actor.options(num_cpus=0.2).remote()  # there is room, and it may not be there yet
    waiting = actor.options(num_cpus=0.45).remote()
    eventually(lambda: waits_for_room({"num_cpus": 0.45, "num_gpus": 0}))
    for num_cpus in (0.0, 0.2, 0.7):
        assert not waits_for_room({"num_cpus": num_cpus, "num_gpus": 0})
    assert not waits_for_room({"num_cpus": 0.45, "num_gpus": 0.5})
    assert ray.get(starting.ready.remote())
    ray.kill(there)
    assert ray.get(waiting.ready.remote())
    eventually(lambda: not waits_for_room({"num_cpus": 0.45, "num_gpus": 0}))
