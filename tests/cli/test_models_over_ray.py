"""Models that come and go in a server over Ray with two Gateways, while it is used."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import safetensors.torch
from cli.conftest import Command, running
from support.patience import PATIENCE_S
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.running_server import eventually
from support.scaling import OWN_CONNECTION
from support.stages import TOKENIZER_FROM

from leyden_client import (
    Client,
    Event,
    FailedPreconditionError,
    Generation,
    ModelLoadError,
    ModelState,
    NoResourcesError,
    StageKind,
)

FIRST, SECOND, BIG = "first", "second", "big"

CONFIG = """
models: [first]
model_repository: [models]
gateway: {port: 0, replicas: 2, drain_timeout_s: 300}
denoiser: {measure_batch_rows: false, num_cpus: 0.45}
ray: {num_cpus: 2}
"""
"""Of 2 CPUs a second UNet beside the first, and a new version of it, leave 0.05."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, two models of one base, and one with a base of its own."""
    home = tmp_path_factory.mktemp("models-over-ray")
    models = home / "models"
    base = write_random_sdxl(models / FIRST, tokenizer_from=TOKENIZER_FROM, seed=41)
    write_random_unet_file(models / "unet.safetensors", model_dir=base, seed=42)
    (models / SECOND).mkdir()
    (models / SECOND / "model.yaml").write_text(f"base: ../{FIRST}\nunet: ../unet.safetensors\n")
    (home / "leyden.yaml").write_text(CONFIG)
    return home


@dataclass
class Server:
    """A running server."""

    command: Command
    client: Client
    address: str
    home: Path

    def each(self, look: Callable[[Client], object]) -> list[object]:
        """Look through many connections: both Gateways have some of them."""
        found = []
        for _ in range(12):
            with Client(self.address, channel_options=OWN_CONNECTION) as client:
                found.append(look(client))
        return found

    def states(self, name: str) -> set[ModelState]:
        """Return a model's state, as each Gateway tells it."""
        return {self._state(client, name) for client in self._clients()}

    def _clients(self) -> Iterator[Client]:
        for _ in range(12):
            with Client(self.address, channel_options=OWN_CONNECTION) as client:
                yield client

    @staticmethod
    def _state(client: Client, name: str) -> ModelState:
        return next(model.state for model in client.list_models() if model.name == name)

    def replicas(self) -> set[tuple[str, int]]:
        """Return every stage's replicas: their applications, and their processes."""
        return {
            (title.split(":")[3], process.pid)
            for title, process in self.titled("ServeReplica:")
            if "Gateway" not in title
        }

    def titled(self, beginning: str) -> list[tuple[str, psutil.Process]]:
        found = []
        for process in self.command.descendants():
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue  # it ended while we looked
            if beginning in title:
                found.append((title, process))
        return found


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with running(["serve", "--config", "leyden.yaml"], home) as command:
        ready = command.stdout_line()
        assert ready.startswith("ready: grpc "), command.stderr
        address = ready.removeprefix("ready: grpc ")
        with Client(address) as client:
            yield Server(command, client, address, home)
        command.interrupt()
        assert command.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in command.stderr
        eventually(lambda: not command.descendants())


@dataclass
class Load:
    """What clients that never stop asking were given."""

    done: list[Generation] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def wait_for_more(self) -> None:
        before = len(self.done)
        eventually(lambda: len(self.done) >= before + 6 or self.errors)
        assert not self.errors


@contextmanager
def asking(server: Server, model: str, clients: int = 3) -> Iterator[Load]:
    """Let clients ask for one image after another, each through a connection of its own."""
    load, stop = Load(), threading.Event()

    def ask() -> None:
        try:
            with Client(server.address, channel_options=OWN_CONNECTION) as client:
                while not stop.is_set():
                    load.done.append(
                        client.generate_image(
                            "a lake", model=model, num_inference_steps=8, timeout_s=PATIENCE_S
                        )
                    )
        except Exception as error:  # noqa: BLE001 - the test shows every one
            load.errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        load.wait_for_more()
        yield load
        load.wait_for_more()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not load.errors


def _note(began: threading.Event, _: Event) -> None:
    began.set()


def revisions(load: Load) -> list[str]:
    return [generation.summary.model_revision for generation in load.done]


def denoisers(load: Load) -> set[str]:
    return {generation.summary.bill.images[0].denoiser_replica for generation in load.done}


def test_a_model_comes_beside_running_streams_and_all_gateways_know_it(server: Server) -> None:
    before = server.replicas()
    assert server.states(SECOND) == {ModelState.UNAVAILABLE}
    with asking(server, FIRST) as load, ThreadPoolExecutor() as threads:
        loading = [threads.submit(server.client.load_model, SECOND) for _ in range(2)]
        states = {loading.result(PATIENCE_S).state for loading in loading}
        assert states == {ModelState.READY}
        assert server.states(SECOND) == {ModelState.READY}
    assert len(denoisers(load)) == 1
    (new,) = server.replicas() - before
    assert f"leyden-denoiser-{SECOND}" in new[0]
    assert before < server.replicas(), "no replica of another application was restarted"
    gateways = server.each(
        lambda client: client.generate_image("a", model=SECOND).summary.bill.gateway_replica
    )
    assert len({*gateways}) == 2


def test_changed_files_take_over_under_load_with_no_request_lost(server: Server) -> None:
    server.client.load_model(SECOND)
    before = server.replicas()
    with asking(server, SECOND) as load:
        (old,) = {*revisions(load)}
        file = server.home / "models" / "unet.safetensors"
        weights = safetensors.torch.load_file(file)
        weights["conv_in.bias"] += 0.5
        safetensors.torch.save_file(weights, file)
        new = server.client.load_model(SECOND).revision
        assert new != old
        load.wait_for_more()
        assert {*revisions(load)} == {old, new}
        done = len(load.done)
        load.wait_for_more()
        assert {*revisions(load)[done:]} == {new}
    eventually(lambda: len(before - server.replicas()) == 1, every_s=0.5)
    (gone,) = before - server.replicas()
    assert f"leyden-denoiser-{SECOND}" in gone[0]
    assert len(server.replicas()) == len(before)


def test_a_load_that_fails_says_why_and_leaves_nothing(server: Server) -> None:
    before = server.replicas()
    folder = server.home / "models"
    file = folder / "damaged.safetensors"
    weights: dict[str, Any] = safetensors.torch.load_file(folder / "unet.safetensors")
    weights["conv_out.bias"][0] = float("nan")
    safetensors.torch.save_file(weights, file)
    (folder / "damaged").mkdir()
    (folder / "damaged" / "model.yaml").write_text(f"base: ../{FIRST}\nunet: ../{file.name}\n")
    with (
        asking(server, FIRST),
        pytest.raises(ModelLoadError, match=r"damaged\.safetensors: conv_out\.bias: holds NaN"),
    ):
        server.client.load_model("damaged")
    reasons = server.each(lambda client: client.get_model("damaged").unavailable_reason)
    assert len({*reasons}) == 1
    assert "conv_out.bias" in str(reasons[0])
    assert server.replicas() == before


def test_what_finds_no_room_is_refused_and_names_what_lacks(server: Server) -> None:
    server.client.load_model(SECOND)
    shutil.copytree(server.home / "models" / FIRST, server.home / "models" / BIG)
    before = server.replicas()
    with pytest.raises(NoResourcesError) as caught:
        server.client.load_model(BIG)
    # 2, less 2 x 0.45 of UNets, 0.4 of encoders and VAE, and 0.2 of the Gateways.
    assert "need 0.85 CPUs and Ray has 0.5" in caught.value.message
    assert f"leyden-denoiser-{BIG} 0.45" in caught.value.message
    assert server.replicas() == before
    assert server.states(BIG) == {ModelState.UNAVAILABLE}


def test_unloading_finishes_what_runs_and_all_gateways_refuse_what_is_new(server: Server) -> None:
    server.client.load_model(SECOND)
    before = server.replicas()
    with ThreadPoolExecutor() as threads:
        began = [threading.Event() for _ in range(3)]
        running = [
            threads.submit(
                server.client.generate_image,
                "a lake",
                model=SECOND,
                num_inference_steps=60,
                on_event=partial(_note, one),
            )
            for one in began
        ]
        assert all(one.wait(PATIENCE_S) for one in began)
        server.client.unload_model(SECOND)
        for generation in running:
            assert generation.result(PATIENCE_S).images
    assert server.states(SECOND) == {ModelState.UNAVAILABLE}
    with pytest.raises(FailedPreconditionError, match="leyden models load second"):
        server.client.generate_image("a lake", model=SECOND)
    eventually(lambda: len(before - server.replicas()) == 1, every_s=0.5)
    (gone,) = before - server.replicas()
    assert f"leyden-denoiser-{SECOND}" in gone[0]
    assert server.client.generate_image("a lake", model=FIRST).images


def test_the_state_has_all_replicas_and_both_gateways(server: Server) -> None:
    server.client.load_model(SECOND)
    with asking(server, SECOND):
        eventually(
            lambda: len(server.client.get_server_state().gateways) == 2, PATIENCE_S, every_s=0.5
        )
        state = server.client.get_server_state()
    kinds = [stage.kind for stage in state.stages]
    assert kinds.count(StageKind.DENOISER) == 2
    assert kinds.count(StageKind.TEXT_ENCODER) == kinds.count(StageKind.VAE) == 1
    for stage in state.stages:
        assert (stage.running_replicas, stage.wanted_replicas) == (1, 1)
        assert stage.busy_share is not None
    busy = {stage.name.rstrip(".2"): stage.busy_share or 0.0 for stage in state.stages}
    assert busy[f"leyden-denoiser-{SECOND}"] > busy[f"leyden-denoiser-{FIRST}"]
    assert {*state.stages[0].models} == {FIRST, SECOND}
    assert len({gateway.replica for gateway in state.gateways}) == 2
    assert state.bottleneck_reason


def test_who_decides_may_die_and_a_gateway_too(server: Server) -> None:
    server.client.load_model(SECOND)
    before = server.replicas()
    ((_, actor),) = server.titled("ray::ModelsActor")
    actor.kill()
    server.client.unload_model(SECOND)
    assert server.states(SECOND) == {ModelState.UNAVAILABLE}
    assert server.client.load_model(SECOND).state is ModelState.READY
    assert len(server.replicas()) == len(before)
    gateways = server.titled("ServeReplica:leyden-gateway:Gateway")
    assert len(gateways) == 2
    gateways[0][1].kill()
    eventually(
        lambda: (
            len(server.titled("ServeReplica:leyden-gateway:Gateway")) == 2
            and gateways[0][1].pid not in {process.pid for _, process in server.titled("Gateway")}
        ),
        PATIENCE_S,
        every_s=0.5,
    )
    with Client(server.address, channel_options=OWN_CONNECTION) as client:
        client.wait_until_ready(PATIENCE_S)
    # It was started with the config, and knows what was loaded since.
    eventually(lambda: server.states(SECOND) == {ModelState.READY}, every_s=0.5)
    assert server.client.generate_image("a lake", model=SECOND).images
