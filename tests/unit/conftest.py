import os
import shutil
import sys
from collections.abc import Iterator

# Before anything imports the hub's client: no test of this folder reaches for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch
from support.stages import Gate, load_denoiser, plain_request, random_prompt, write_model
from support.triton_interpreter import Interpreter, triton_interpreter
from torch._dynamo.utils import counters

from leyden_server.accelerator import compiler, group_norm, layer_norm, resnet_block, upsample
from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.denoiser import gated_product, geglu
from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.stages.contract import DenoiseRequest

MODEL_YAML = """\
noise_schedule: {solvers: [euler, euler_ancestral]}
preview:
  factors: [[0.1, 0.1, 0.2], [0.2, 0.1, 0.1], [-0.1, 0.0, 0.0], [-0.1, 0.0, 0.1]]
  bias: [0.5, 0.4, 0.5]
"""

# The tensors are tiny: a second thread brings nothing, and on a shared machine each of its
# barriers waits for somebody else's time slice.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    """Random weights, 64 x 64 pixels, both solvers, with previews."""
    return write_model(tmp_path_factory.mktemp("models") / "random-sdxl", MODEL_YAML)


@pytest.fixture
def service(random_model: ResolvedModel) -> Iterator[DenoiseService]:
    """A Denoiser that batches up to eight rows."""
    service = load_denoiser(random_model)
    yield service
    service.stop()


@pytest.fixture
def gate(service: DenoiseService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A shut gate before the UNet runs of `service`."""
    gate = Gate(service._runner.run)
    monkeypatch.setattr(service._runner, "run", gate)
    yield gate
    gate.open()


@pytest.fixture(scope="session")
def lightning() -> ResolvedModel:
    """The shipped model with fixed steps and one solver."""
    return ModelRepository().resolve("leyden-tiny-lightning-4step")


@pytest.fixture(scope="session")
def base() -> ResolvedModel:
    """The shipped model with a range of steps, guidance and two solvers."""
    return ModelRepository().resolve("leyden-tiny-base")


@pytest.fixture
def request_(service: DenoiseService, random_model: ResolvedModel) -> DenoiseRequest:
    """One image in four steps without guidance."""
    return plain_request(random_model, random_prompt(service))


@pytest.fixture
def folder(random_model: ResolvedModel, tmp_path: Path) -> Path:
    """A copy of a random SDXL folder, to be spoiled; without a model.yaml."""
    folder = tmp_path / "my-sdxl"
    shutil.copytree(random_model.base_folder, folder, copy_function=os.link)
    (folder / "model.yaml").unlink()
    return folder


@pytest.fixture
def without_inductor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile by dynamo's `eager` backend, its counters at zero."""
    monkeypatch.setattr(compiler, "BACKEND", "eager")
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


@pytest.fixture(scope="session")
def interpreter() -> Iterator[Interpreter]:
    """Where kernels in Triton run on a CPU."""
    with triton_interpreter() as interpreter:
        yield interpreter


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernel in Triton can be loaded, as where it is not installed."""
    for module in (
        group_norm.KERNELS,
        geglu.KERNELS,
        layer_norm.KERNELS,
        gated_product.KERNELS,
        resnet_block.KERNELS,
        upsample.KERNELS,
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    triton_kernels.cache_clear()
    yield
    triton_kernels.cache_clear()
