"""How the UNet runs: eagerly or prepared for a bucket, and what is left to eager.

dynamo traces and guards here as it does in the server; its `eager` backend then runs the graph
as it stands, in place of inductor, which takes minutes and a C++ compiler.
"""

import asyncio
from pathlib import Path

import pytest
import torch
from support.stages import (
    batch_rows,
    events_of,
    latents_of,
    plain_request,
    random_prompt,
    sampled,
    write_model,
)
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config

from leyden_server.config import DenoiserConfig, UNetExecution
from leyden_server.denoiser.service import DenoiseService
from leyden_server.denoiser.unet_execution import UNetExecutor, UNetInputs
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.errors import ConfigError
from leyden_server.model_repository import ResolvedModel

CPU = torch.device("cpu")


def load(model: ResolvedModel, execution: UNetExecution = "eager") -> UNetRunner:
    return UNetRunner.load(model, dtype=torch.float32, device=CPU, execution=execution)


def random_inputs(runner: UNetRunner, rows: int, seed: int, side: int = 8) -> UNetInputs:
    generator = torch.Generator().manual_seed(seed)
    width, pooled_width = runner.conditioning
    cond_width = runner.unet.config.time_cond_proj_dim
    shapes = {
        "sample": (rows, 4, side, side),
        "prompt_embeds": (rows, 77, width),
        "text_embeds": (rows, pooled_width),
    }
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    prompt_embeds = drawn.pop("prompt_embeds").to(runner.device, runner.dtype)
    return UNetInputs(
        encoder_hidden_states=runner.encoder_hidden_states(prompt_embeds).to("cpu", torch.float32),
        timestep=torch.randint(1000, (rows,), generator=generator).float(),
        time_ids=torch.tensor([64, 64, 0, 0, 64, 64]).repeat(rows, 1).float(),
        timestep_cond=(torch.randn(rows, cond_width, generator=generator) if cond_width else None),
        **drawn,
    )


def compiled_shapes() -> int:
    return int(counters["stats"]["unique_graphs"])


def test_a_prepared_bucket_reads_every_input_of_each_run_anew(
    tmp_path: Path, without_inductor: None
) -> None:
    runner = load(write_model(tmp_path / "distilled", "", time_cond_proj_dim=32))
    executor = UNetExecutor(runner.unet, "compile")
    first, second = (random_inputs(runner, 2, seed) for seed in (0, 1))
    executor.prepare(first)
    assert executor.prepared == {first.bucket}

    expected = assert_eager(runner, executor, first)
    for name in sorted({*UNetInputs._fields} - {"time_ids"}):
        changed = first._replace(**{name: getattr(second, name)})
        difference = assert_eager(runner, executor, changed) - expected
        assert difference.abs().max() > 1e-3, f"{name} counts for nothing"
    assert compiled_shapes() == 1


def assert_eager(runner: UNetRunner, executor: UNetExecutor, inputs: UNetInputs) -> torch.Tensor:
    """Compare with a plain forward, and return that."""
    expected = UNetExecutor(runner.unet, "eager")(inputs)
    torch.testing.assert_close(executor(inputs), expected, rtol=1e-5, atol=1e-5)
    return expected


def test_inputs_laid_out_otherwise_are_not_compiled_again(
    random_model: ResolvedModel, without_inductor: None
) -> None:
    runner = load(random_model)
    executor = UNetExecutor(runner.unet, "compile")
    inputs = random_inputs(runner, 2, 0)
    executor.prepare(inputs)
    other_layout = inputs._replace(
        sample=inputs.sample.contiguous(memory_format=torch.channels_last),
        text_embeds=inputs.text_embeds.t().contiguous().t(),
    )
    assert other_layout.sample.stride() != inputs.sample.stride()

    noise_pred = executor(other_layout)

    torch.testing.assert_close(noise_pred, executor(inputs))
    assert noise_pred.is_contiguous()
    assert compiled_shapes() == 1


def test_a_shape_that_was_not_prepared_runs_eagerly(
    random_model: ResolvedModel, without_inductor: None
) -> None:
    runner = load(random_model)
    executor = UNetExecutor(runner.unet, "compile")
    executor.prepare(random_inputs(runner, 1, 0))
    assert_eager(runner, executor, random_inputs(runner, 1, 0, side=12))
    assert compiled_shapes() == 1


def test_all_numbers_of_rows_but_one_share_compiled_code(
    random_model: ResolvedModel, without_inductor: None
) -> None:
    runner = load(random_model)
    executor = UNetExecutor(runner.unet, "compile")
    for rows, compiled in ((1, 1), (2, 2), (4, 2), (8, 2)):
        inputs = random_inputs(runner, rows, seed=rows)
        executor.prepare(inputs)
        assert_eager(runner, executor, inputs)
        assert compiled_shapes() == compiled
    executor.prepare(random_inputs(runner, 8, 0, side=12))
    assert compiled_shapes() == 3


def test_a_result_outlives_the_next_run(
    random_model: ResolvedModel, without_inductor: None
) -> None:
    runner = load(random_model)
    executor = UNetExecutor(runner.unet, "compile")
    first, second = (random_inputs(runner, 1, seed) for seed in (0, 1))
    executor.prepare(first)

    kept = executor(first)
    before = kept.clone()
    executor(second)

    assert torch.equal(kept, before)


@pytest.mark.parametrize("measure", [True, False])
async def test_a_compiled_denoiser_makes_the_same_latents_and_compiles_at_warm_up_alone(
    random_model: ResolvedModel, without_inductor: None, measure: bool
) -> None:
    eager = DenoiseService(random_model, denoiser_config("eager"), "eager")
    compiled = DenoiseService(random_model, denoiser_config("compile", measure=measure), "compiled")
    try:
        shapes = compiled_shapes()
        assert shapes == 2  # one row and two
        compiled._engine.row_caps.set(64, 2)
        request = plain_request(random_model, random_prompt(eager))
        requests = [sampled(request, seed=seed) for seed in (0, 1)]
        together = await asyncio.gather(*(events_of(compiled, one) for one in requests))
        for one, events in zip(requests, together, strict=True):
            expected = torch.tensor(latents_of(await events_of(eager, one)))
            latents = torch.tensor(latents_of(events))
            # Four steps of a UNet that sums in another order where rows share a batch.
            torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-3)
        assert 2 in batch_rows(together[0])
        assert compiled_shapes() == shapes
    finally:
        eager.stop()
        compiled.stop()


def denoiser_config(execution: UNetExecution, *, measure: bool = True) -> DenoiserConfig:
    return DenoiserConfig(
        max_batch_rows=2,
        measure_batch_rows=measure,
        dtype="float32",
        torch_threads=1,
        unet_execution=execution,
    )


def test_only_what_is_compiled_or_on_a_gpu_is_padded(random_model: ResolvedModel) -> None:
    eager, compiled = load(random_model), load(random_model, "compile")
    assert [eager.padded_rows(rows) for rows in (1, 2, 3, 5, 8)] == [1, 2, 3, 5, 8]
    assert [compiled.padded_rows(rows) for rows in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]
    assert eager.buckets(8) == [1]
    assert compiled.buckets(6) == [1, 2, 4, 8]
    assert compiled.buckets(1) == [1]


def test_what_is_chosen_on_a_cpu_is_traced_and_pads_nothing(random_model: ResolvedModel) -> None:
    runner = load(random_model, "auto")
    assert UNetExecutor(runner.unet, "auto").execution == "traced"
    assert runner.buckets(8) == [1]
    assert runner.padded_rows(3) == 3


@pytest.mark.parametrize("execution", ["cuda_graphs", "compile_cuda_graphs"])
def test_graphs_on_a_cpu_are_refused(random_model: ResolvedModel, execution: UNetExecution) -> None:
    message = rf"denoiser\.unet_execution: {execution} needs a CUDA device.* cpu; auto, eager"
    with pytest.raises(ConfigError, match=message):
        load(random_model, execution)


def test_a_machine_without_a_compiler_is_told_so(random_model: ResolvedModel) -> None:
    torch.compiler.reset()
    runner = load(random_model, "compile")
    missing = inductor_config.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False})
    with missing, pytest.raises(ConfigError, match=r"torch\.compile failed.*C\+\+ compiler"):
        runner.time_rows(1, 8, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("execution", "dtype"),
    [
        ("cuda_graphs", torch.float32),
        ("cuda_graphs", torch.bfloat16),  # with the kernels in Triton
        ("compile", torch.float32),
        ("compile_cuda_graphs", torch.float32),
    ],
)
def test_on_a_gpu_every_run_equals_eager(
    random_model: ResolvedModel, execution: UNetExecution, dtype: torch.dtype
) -> None:
    runner = UNetRunner.load(random_model, dtype=dtype, device=torch.device("cuda"))
    executor = UNetExecutor(runner.unet, execution)
    inputs = {
        (rows, seed): on_the_gpu(random_inputs(runner, rows, seed), dtype)
        for rows in (1, 2, 4)
        for seed in (0, 1)
    }
    for rows in (4, 1, 2):
        executor.prepare(inputs[rows, 0])
    eager = UNetExecutor(runner.unet, "eager")

    # All runs first, in a mixed order: outputs that shared memory would show.
    results = {key: executor(inputs[key]) for key in sorted(inputs, key=lambda key: key[::-1])}

    for key, result in results.items():
        torch.testing.assert_close(result, eager(inputs[key]), rtol=1e-2, atol=1e-2)


def on_the_gpu(inputs: UNetInputs, dtype: torch.dtype) -> UNetInputs:
    moved = UNetInputs(*(one.to("cuda", dtype) for one in inputs.tensors))
    return moved._replace(timestep=inputs.timestep.cuda())
