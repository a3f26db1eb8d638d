"""A UNet that runs without Python: the same bits, for all rows and sizes, or eagerly."""

import logging
from pathlib import Path

import pytest
import torch
from support.stages import write_model
from unit.test_unet_runner import load, random_inputs

from leyden_server.accelerator.traced import traced
from leyden_server.config import DEFAULT_MODEL
from leyden_server.denoiser.unet_execution import TracedUNet, UNetExecutor, UNetInputs
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.model_repository import ModelRepository, ResolvedModel


@pytest.fixture(scope="module")
def embedded() -> UNetRunner:
    return load(ModelRepository().resolve(DEFAULT_MODEL), "auto")


def resized(inputs: UNetInputs, height: int, width: int, tokens: int = 77) -> UNetInputs:
    draw = torch.Generator().manual_seed(height * width)
    sample = torch.randn(*inputs.sample.shape[:2], height, width, generator=draw)
    states = inputs.encoder_hidden_states[:, :tokens]
    return inputs._replace(sample=sample, encoder_hidden_states=states)


@pytest.mark.parametrize(
    ("rows", "height", "width", "tokens"),
    [(1, 16, 16, 77), (3, 16, 24, 77), (8, 8, 8, 77), (2, 32, 16, 20), (5, 4, 4, 77)],
)
def test_all_rows_and_sizes_come_bit_for_bit_as_eagerly(
    embedded: UNetRunner, rows: int, height: int, width: int, tokens: int
) -> None:
    embedded.time_rows(1, 16, 16)
    inputs = resized(random_inputs(embedded, rows, seed=rows), height, width, tokens)
    trace = embedded._executor._traced

    assert trace is not None
    assert trace.is_for(inputs)
    assert torch.equal(trace(inputs), UNetExecutor(embedded.unet, "eager")(inputs))
    assert torch.equal(embedded._executor(inputs), UNetExecutor(embedded.unet, "eager")(inputs))


def test_a_size_that_diffusers_rounds_runs_eagerly(embedded: UNetRunner) -> None:
    embedded.time_rows(1, 16, 16)
    inputs = resized(random_inputs(embedded, 1, seed=0), 15, 18)
    trace = embedded._executor._traced

    assert trace is not None
    assert not trace.is_for(inputs)
    assert torch.equal(embedded._executor(inputs), UNetExecutor(embedded.unet, "eager")(inputs))


def test_every_input_counts(tmp_path: Path) -> None:
    runner = load(write_model(tmp_path / "distilled", "", time_cond_proj_dim=32), "traced")
    runner.time_rows(1, 8, 8)
    first, second = (random_inputs(runner, 2, seed) for seed in (0, 1))
    expected = runner._executor(first)
    for name in sorted({*UNetInputs._fields} - {"time_ids"}):
        changed = first._replace(**{name: getattr(second, name)})
        found = runner._executor(changed)
        assert torch.equal(found, UNetExecutor(runner.unet, "eager")(changed))
        assert (found - expected).abs().max() > 1e-3, f"{name} counts for nothing"


def test_a_random_model_is_traced_too(random_model: ResolvedModel) -> None:
    runner = load(random_model, "traced")
    runner.time_rows(1, 8, 8)
    inputs = random_inputs(runner, 2, seed=0)

    assert runner._executor._traced is not None
    assert runner._executor._traced.is_for(inputs)


def test_what_python_decides_by_a_shape_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    def by_rows(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if len(x) == 1 else x - 1

    with caplog.at_level(logging.WARNING):
        assert traced(by_rows, (torch.ones(1, 2),), [(torch.ones(2, 2),)]) is None
    assert "do not come the same" in caplog.text


def test_what_cannot_be_traced_runs_eagerly(
    caplog: pytest.LogCaptureFixture, random_model: ResolvedModel
) -> None:
    def no_tensor(x: torch.Tensor) -> torch.Tensor:
        return str(x)  # type: ignore[return-value]

    with caplog.at_level(logging.WARNING):
        assert traced(no_tensor, (torch.ones(1),), []) is None
    assert "could not be traced" in caplog.text


def test_a_trace_that_is_none_is_for_nothing(
    random_model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.jit, "trace")
    runner = load(random_model, "traced")
    runner.time_rows(1, 8, 8)
    inputs = random_inputs(runner, 2, seed=0)

    assert runner._executor._traced is not None
    assert not runner._executor._traced.is_for(inputs)
    assert torch.equal(runner._executor(inputs), UNetExecutor(runner.unet, "eager")(inputs))


def test_traces_are_made_once(random_model: ResolvedModel) -> None:
    runner = load(random_model, "traced")
    runner.time_rows(1, 8, 8)
    first = runner._executor._traced
    runner.time_rows(2, 12, 8)

    assert isinstance(first, TracedUNet)
    assert runner._executor._traced is first
