"""Models that come and go while the server runs, in one process."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import safetensors.torch
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.patience import PATIENCE_S
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.running_server import RunningServer, details_of, eventually
from support.stages import TOKENIZER_FROM, Gate

from leyden.v1 import model_service_pb2 as pb
from leyden_server.config import ServerConfig
from leyden_server.controller.in_process import InProcessServer
from leyden_server.controller.in_process_stages import InProcessStages
from leyden_server.denoiser.service import DenoiseService
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as triton_pb
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2_grpc as triton_grpc

FIRST, SECOND = "first", "second"
"""Two models of one base: the first is loaded at the start."""
"""How long a call waits for what takes a second; only a failure takes that long."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as it is before a test changes it."""
    models = tmp_path_factory.mktemp("written") / "models"
    base = write_random_sdxl(models / FIRST, tokenizer_from=TOKENIZER_FROM, seed=31)
    write_random_unet_file(models / "unet.safetensors", model_dir=base, seed=32)
    (models / SECOND).mkdir()
    (models / SECOND / "model.yaml").write_text(f"base: ../{FIRST}\nunet: ../unet.safetensors\n")
    return models


class Models:
    """A server, and the repository that it looks at."""

    def __init__(self, folder: Path, server: InProcessServer) -> None:
        self.folder = folder
        self.running = RunningServer(server)
        self.health = health_pb2_grpc.HealthStub(self.running.channel)
        self._server = server

    def load(self, name: str) -> pb.Model:
        call: Any = self.running.models.LoadModel
        model: pb.Model = call(pb.LoadModelRequest(model=name), timeout=PATIENCE_S).model
        return model

    def unload(self, name: str) -> None:
        call: Any = self.running.models.UnloadModel
        call(pb.UnloadModelRequest(model=name), timeout=PATIENCE_S)

    def listed(self, name: str) -> pb.Model:
        listed = self.running.models.ListModels(pb.ListModelsRequest()).models
        return next(model for model in listed if model.name == name)

    def state(self, name: str) -> str:
        return pb.ModelState.Name(self.listed(name).state)

    def stages(self) -> set[str]:
        async def names(stages: InProcessStages) -> set[str]:
            return set(stages.names)

        return self._server.ask(names)

    def is_serving(self) -> bool:
        status = self.health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    @contextmanager
    def held(self, name: str) -> Iterator[Gate]:
        """Let no step of a model's denoiser run before the gate is opened."""

        async def service(stages: InProcessStages) -> DenoiseService:
            (found,) = await stages.denoisers[f"leyden-denoiser-{name}"].services()
            assert isinstance(found, DenoiseService)
            return found

        runner = self._server.ask(service)._runner
        gate = Gate(runner.run)
        runner.run = gate  # type: ignore[method-assign]
        try:
            yield gate
        finally:
            gate.open()


@pytest.fixture
def models(written: Path, tmp_path: Path) -> Iterator[Models]:
    folder = tmp_path / "models"
    shutil.copytree(written, folder)
    with serving(folder) as found:
        yield found


@contextmanager
def serving(folder: Path, **gateway: object) -> Iterator[Models]:
    config = ServerConfig().replace(
        models=[FIRST],
        model_repository=[folder],
        gateway={"port": 0, **gateway},
        denoiser={"measure_batch_rows": False},
    )
    with InProcessServer(config) as server:
        yield Models(folder, server)


def refusal(call: Callable[[], object]) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


def reason(error: Any) -> str:
    found: str = details_of(error)[ErrorInfo].reason
    return found


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a file of weights; its size may stay, its time of change does not."""
    weights = safetensors.torch.load_file(file)
    change(weights)
    safetensors.torch.save_file(weights, file)


def test_a_model_comes_and_goes_beside_one_that_stays(models: Models) -> None:
    before = models.stages()
    assert models.state(SECOND) == "MODEL_STATE_UNAVAILABLE"
    assert "leyden models load second" in models.listed(SECOND).unavailable_reason
    loaded = models.load(SECOND)
    assert loaded.state == pb.MODEL_STATE_READY
    # Its UNet alone is its own.
    assert models.stages() - before == {f"leyden-denoiser-{SECOND}"}
    assert models.running.generate(model=SECOND).summary.model_revision == loaded.revision
    assert models.running.generate(model="").summary.model == FIRST

    models.unload(SECOND)
    assert models.stages() == before
    assert models.state(SECOND) == "MODEL_STATE_UNAVAILABLE"
    error = refusal(lambda: models.running.generate(model=SECOND))
    assert (error.code(), reason(error)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_NOT_LOADED",
    )
    assert models.running.generate(model=FIRST)
    models.unload(SECOND)  # it is not loaded: that is what was asked for


def test_what_is_shared_goes_with_its_last_model(models: Models) -> None:
    models.load(SECOND)
    shared = models.stages() - {f"leyden-denoiser-{FIRST}", f"leyden-denoiser-{SECOND}"}
    models.unload(FIRST)
    assert models.stages() == shared | {f"leyden-denoiser-{SECOND}"}
    assert models.running.generate(model=SECOND)
    # The first is the default still, and a request that names none is told so.
    error = refusal(lambda: models.running.generate(model=""))
    assert reason(error) == "MODEL_NOT_LOADED"
    assert f"model '{FIRST}' is not loaded" in error.details()
    assert f"leyden models load {FIRST}" in error.details()
    eventually(models.is_serving)
    models.unload(SECOND)
    assert models.stages() == set()
    eventually(lambda: not models.is_serving())
    models.load(FIRST)
    eventually(models.is_serving)
    assert models.running.generate(model="").summary.model == FIRST


def test_unloading_finishes_what_was_accepted_and_refuses_what_is_new(models: Models) -> None:
    models.load(SECOND)
    with ThreadPoolExecutor() as threads, models.held(SECOND) as gate:
        running = threads.submit(models.running.generate, model=SECOND, timeout=PATIENCE_S)
        eventually(lambda: gate.rows)
        unloading = threads.submit(models.unload, SECOND)
        eventually(lambda: models.state(SECOND) == "MODEL_STATE_UNLOADING")
        error = refusal(lambda: models.running.generate(model=SECOND))
        assert reason(error) == "MODEL_NOT_LOADED"
        assert "being unloaded" in error.details()
        assert models.running.generate(model=FIRST)
        assert not unloading.done()
        # Who wants it again meanwhile gets it, once it is gone.
        loading = threads.submit(models.load, SECOND)
        gate.open()
        assert running.result(PATIENCE_S).summary.model == SECOND
        unloading.result(PATIENCE_S)
        assert loading.result(PATIENCE_S).state == pb.MODEL_STATE_READY
    assert models.running.generate(model=SECOND)


def test_what_does_not_end_within_the_drain_is_unavailable(written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(written, folder)
    with (
        serving(folder, drain_timeout_s=0.5) as models,
        ThreadPoolExecutor() as threads,
        models.held(FIRST) as gate,
    ):
        running = threads.submit(
            refusal, lambda: models.running.generate(model=FIRST, timeout=PATIENCE_S)
        )
        eventually(lambda: gate.rows)
        unloading = threads.submit(models.unload, FIRST)
        error = running.result(PATIENCE_S)
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "MODEL_UNLOADED")
        gate.open()
        unloading.result(PATIENCE_S)
        assert models.stages() == set()


def test_changed_files_take_over_under_load_and_no_request_is_lost(models: Models) -> None:
    old = models.listed(FIRST).revision
    assert models.load(FIRST).revision == old
    unet = models.folder / FIRST / "unet" / "diffusion_pytorch_model.safetensors"
    stop = threading.Event()
    summaries: list[list[tuple[float, str]]] = [[] for _ in range(3)]

    def ask(mine: list[tuple[float, str]]) -> None:
        while not stop.is_set():
            reply = models.running.generate(model=FIRST, num_inference_steps=3, timeout=PATIENCE_S)
            mine.append((time.monotonic(), reply.summary.model_revision))

    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask, mine) for mine in summaries]
        try:
            eventually(lambda: all(len(mine) > 1 for mine in summaries))
            rewrite(unet, lambda weights: weights["conv_in.bias"].add_(0.5))
            new = models.load(FIRST).revision
            loaded_s = time.monotonic()
            done = [len(mine) for mine in summaries]
            eventually(
                lambda: all(len(mine) > n + 1 for mine, n in zip(summaries, done, strict=True)),
                PATIENCE_S,
            )
        finally:
            stop.set()
        for one in asking:
            one.result(PATIENCE_S)  # raises where a request was refused or failed
    assert new != old
    for mine in summaries:
        revisions = [revision for _, revision in mine]
        assert revisions == sorted(revisions, key=[old, new].index)
        assert {*revisions} == {old, new}
        # One that began before the answer may have the old one; the second after it has not.
        assert [revision for done_s, revision in mine if done_s > loaded_s][1:]
    eventually(
        lambda: (
            f"leyden-denoiser-{FIRST}" not in models.stages()
            and f"leyden-denoiser-{FIRST}.2" in models.stages()
        ),
        PATIENCE_S,
    )
    # The encoders and the VAE have not changed, and are the same.
    assert len(models.stages()) == 3
    assert models.load(FIRST).revision == new


def test_files_that_are_touched_have_changed_and_others_have_not(models: Models) -> None:
    before = models.stages()
    models.load(FIRST)
    assert models.stages() == before
    (models.folder / FIRST / "vae" / "config.json").touch()
    models.load(FIRST)
    eventually(lambda: len(models.stages()) == 3)
    (gone,) = before - models.stages()
    assert gone.startswith("leyden-vae-")
    assert models.running.generate(model=FIRST)


def test_a_folder_that_was_added_is_found(models: Models) -> None:
    with pytest.raises(StopIteration):
        models.listed("added")
    assert reason(refusal(lambda: models.load("added"))) == "MODEL_NOT_FOUND"
    (models.folder / "added").mkdir()
    (models.folder / "added" / "model.yaml").write_text(
        f"base: ../{FIRST}\nunet: ../absent.safetensors\n"
    )
    assert models.listed("added").unavailable_reason.endswith("absent.safetensors is missing")
    (models.folder / "added" / "model.yaml").write_text(f"base: ../{FIRST}\n")
    assert "leyden models load added" in models.listed("added").unavailable_reason
    assert models.load("added").state == pb.MODEL_STATE_READY
    assert models.running.generate(model="added")
    # Its folder may go while it is loaded; then it can be unloaded, and is known no more.
    shutil.rmtree(models.folder / "added")
    assert models.state("added") == "MODEL_STATE_READY"
    models.unload("added")
    assert reason(refusal(lambda: models.unload("added"))) == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("name", ["", "../first", "unet.safetensors"])
def test_a_name_is_one_of_the_listing(models: Models, name: str) -> None:
    for call in (models.load, models.unload):
        error = refusal(lambda call=call: call(name))  # type: ignore[misc]
        if name:
            assert error.code() is grpc.StatusCode.NOT_FOUND
        else:
            (violation,) = details_of(error)[BadRequest].field_violations
            assert violation.field == "model"


def test_a_load_that_fails_names_file_and_tensor_and_leaves_nothing(models: Models) -> None:
    def damage(weights: dict[str, Any]) -> None:
        weights["conv_out.bias"][0] = float("nan")

    before = models.stages()
    rewrite(models.folder / "unet.safetensors", damage)
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(models.running.generate, model=FIRST, image_count=4)
        error = refusal(lambda: models.load(SECOND))
        assert asking.result(PATIENCE_S).summary
    assert (error.code(), reason(error)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "MODEL_LOAD_FAILED",
    )
    assert "unet.safetensors: conv_out.bias: holds NaN" in error.details()
    assert str(models.folder) not in error.details()
    assert models.stages() == before
    assert "conv_out.bias" in models.listed(SECOND).unavailable_reason
    # A version that is served stays where the next one cannot be loaded.
    rewrite(models.folder / FIRST / "unet" / "diffusion_pytorch_model.safetensors", damage)
    assert reason(refusal(lambda: models.load(FIRST))) == "MODEL_LOAD_FAILED"
    assert models.stages() == before
    assert models.state(FIRST) == "MODEL_STATE_READY"
    assert models.running.generate(model=FIRST)


def test_callers_join_a_load_and_one_that_leaves_does_not_end_it(models: Models) -> None:
    call: Any = models.running.models.LoadModel
    leaving = call.future(pb.LoadModelRequest(model=SECOND), timeout=PATIENCE_S)
    eventually(lambda: models.state(SECOND) == "MODEL_STATE_LOADING", every_s=0.001)
    assert models.is_serving(), "a further model changes nothing of what is served"
    error = refusal(lambda: models.running.generate(model=SECOND))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING")
    with ThreadPoolExecutor() as threads:
        joined = [threads.submit(models.load, SECOND) for _ in range(3)]
        leaving.cancel()
        revisions = {future.result(PATIENCE_S).revision for future in joined}
    assert len(revisions) == 1
    assert f"leyden-denoiser-{SECOND}" in models.stages()
    assert f"leyden-denoiser-{SECOND}.2" not in models.stages()


def test_triton_clients_load_and_unload_the_same_way(models: Models) -> None:
    triton: Any = triton_grpc.GRPCInferenceServiceStub(models.running.channel)

    def state(name: str, *, ready: bool = False) -> str | None:
        index = triton.RepositoryIndex(triton_pb.RepositoryIndexRequest(ready=ready)).models
        return next((model.state for model in index if model.name == name), None)

    assert state(SECOND) == ""
    triton.RepositoryModelLoad(
        triton_pb.RepositoryModelLoadRequest(model_name=SECOND), timeout=PATIENCE_S
    )
    assert state(SECOND, ready=True) == "READY"
    assert triton.ModelReady(triton_pb.ModelReadyRequest(name=SECOND)).ready
    assert models.running.generate(model=SECOND)
    for name in (SECOND, SECOND, "nosuch"):
        triton.RepositoryModelUnload(
            triton_pb.RepositoryModelUnloadRequest(model_name=name), timeout=PATIENCE_S
        )
    assert not triton.ModelReady(triton_pb.ModelReadyRequest(name=SECOND)).ready
    assert state(SECOND) == ""
    request = triton_pb.RepositoryModelLoadRequest(model_name="nosuch")
    assert reason(refusal(lambda: triton.RepositoryModelLoad(request))) == "MODEL_NOT_FOUND"
