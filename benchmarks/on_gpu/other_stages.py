"""The text encoders and the image decoder, called as their deployments call them."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.on_gpu.comparison import compare
from benchmarks.on_gpu.machine import free_memory, reset_memory
from benchmarks.on_gpu.random_weights import resolved, write_text_encoders, write_vae
from benchmarks.on_gpu.run import Row, Run, gave_up
from benchmarks.on_gpu.timing import DeviceClock
from leyden_server.config import EncoderExecution, UNetExecution, VaeExecution
from leyden_server.errors import ConfigError
from leyden_server.stages.contract import EncodedPrompt, FloatArray
from leyden_server.text_encoder.encoder import PromptEncoder
from leyden_server.vae.decoder import VaeDecoder

__all__ = ["encoder_execution", "text_encoder_rows", "vae_execution", "vae_rows"]

PROMPT = "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere"
WARM_CALLS = 3


def text_encoder_rows(run: Run) -> Iterator[Row]:
    """Measure both encoders, tokenizers included, for each number of prompts."""
    run.say("text encoders: weights")
    run.thread.run(
        write_text_encoders,
        run.folder,
        run.architecture,
        dtype=run.dtype,
        device=run.device,
        seed=run.seed,
    )

    def load(dtype: torch.dtype, execution: EncoderExecution) -> PromptEncoder:
        return run.thread.run(
            PromptEncoder,
            resolved(run.folder),
            dtype=dtype,
            device=run.device,
            replica="benchmark",
            execution=execution,
        )

    prompts = [f"{PROMPT}, {number}" for number in range(max(run.rows))]
    run.say("text encoders: reference in float32")
    reference = load(torch.float32, "eager")
    expected = [_flat(run.thread.run(reference.encode, [prompt])) for prompt in prompts]
    del reference
    free_memory(run.device)
    for execution in dict.fromkeys(map(encoder_execution, run.executions)):
        encoder = load(run.dtype, execution)
        started_s = time.perf_counter()
        run.thread.run(encoder.warm_up, max(run.rows))
        warm_up_s = time.perf_counter() - started_s
        marked = partial(_timed_executor, encoder)
        for rows in run.rows:
            run.say(f"text encoders: {execution}, {rows} prompts")
            some = prompts[:rows]
            what = {"stage": "text_encoders", "execution": execution, "rows": rows}
            reset_memory(run.device)
            result = _flat(run.thread.run(encoder.encode, some))
            device_ms, wall_ms = _time(run, partial(encoder.encode, some), marked)
            yield run.row(
                what,
                compare(result, torch.cat(expected[:rows]), tolerance=run.tolerance),
                device_ms=device_ms,
                wall_ms=wall_ms,
                flop=rows * run.costs.text_encoders_flop,
            ) | {"warm_up_s": warm_up_s}
        del encoder, marked
        free_memory(run.device)


def encoder_execution(unet_execution: UNetExecution) -> EncoderExecution:
    """Return how the text encoders run where the UNet does so; they are not compiled."""
    return "cuda_graphs" if unet_execution.endswith("cuda_graphs") else "eager"


def vae_rows(run: Run) -> Iterator[Row]:
    """Measure the VAE decoder for each size and number of images; pixels are compared."""
    run.say("image decoder: weights")
    run.thread.run(
        write_vae,
        run.folder,
        run.architecture,
        dtype=run.dtype,
        device=run.device,
        seed=run.seed,
    )

    def load(dtype: torch.dtype, execution: VaeExecution) -> VaeDecoder:
        return run.thread.run(
            VaeDecoder,
            resolved(run.folder),
            dtype=dtype,
            device=run.device,
            execution=execution,
        )

    latents = {size: _latents(run, size) for size in run.sizes_px}
    reference = load(torch.float32, "eager")
    expected = {}
    for size in run.sizes_px:
        run.say(f"image decoder: reference in float32, {size} px")
        one_by_one = [run.thread.run(reference.decode, [one])[0] for one in latents[size]]
        expected[size] = torch.from_numpy(np.stack(one_by_one))
    del reference
    free_memory(run.device)
    # One after another, in the order of the UNet's, without a second of the same.
    for execution in dict.fromkeys(map(vae_execution, run.executions)):
        try:
            yield from _decoder_rows(run, load(run.dtype, execution), execution, latents, expected)
        except ConfigError as error:  # it does not compile here
            run.failures.append(str(error))
            yield {"stage": "vae", "execution": execution, "not_measured": str(error)}
        free_memory(run.device)


def vae_execution(unet_execution: UNetExecution) -> VaeExecution:
    """Return how the VAE runs where the UNet does so; it has no graphs of its own."""
    return "compile" if unet_execution in ("compile", "compile_cuda_graphs") else "eager"


def _decoder_rows(
    run: Run,
    decoder: VaeDecoder,
    execution: VaeExecution,
    latents: dict[int, list[FloatArray]],
    expected: dict[int, torch.Tensor],
) -> Iterator[Row]:
    marked = partial(_timed_executor, decoder)
    for size in run.sizes_px:
        side = size // run.architecture.vae_scale_factor
        for rows in run.rows:
            run.say(f"image decoder: {execution}, {rows} images, {size} px")
            some = latents[size][:rows]
            what = {
                "stage": "vae",
                "execution": execution,
                "size_px": size,
                "rows": rows,
            }
            reset_memory(run.device)
            started_s = time.perf_counter()
            try:
                # As the stage's warm-up does, which compiles.
                run.thread.run(decoder.time_rows, rows, side, side)
                warm_up_s = time.perf_counter() - started_s
                pixels = torch.from_numpy(np.stack(run.thread.run(decoder.decode, some)))
                device_ms, wall_ms = _time(run, partial(decoder.decode, some), marked)
            except (MemoryError, torch.OutOfMemoryError) as error:
                row = gave_up(what, error)
            else:
                row = run.row(
                    what,
                    # Pixels as -1 … 1, around the grey that decoding nothing would give.
                    compare(
                        pixels / 127.5 - 1,
                        expected[size][:rows] / 127.5 - 1,
                        tolerance=run.tolerance,
                    ),
                    device_ms=device_ms,
                    wall_ms=wall_ms,
                    flop=rows * run.costs.vae_flop[size],
                ) | {"warm_up_s": warm_up_s}
            # Not in the except: until its end the error keeps what it ran out over.
            if "not_measured" in row:
                free_memory(run.device)
            yield row


@contextmanager
def _timed_executor(stage: PromptEncoder | VaeDecoder, clock: DeviceClock) -> Iterator[None]:
    """Mark the models' runs: a hook would not see a graph, and compiled code anew."""
    executor: Any = stage._executor

    def timed(inputs: Any) -> Any:
        with clock.region():
            return executor(inputs)

    stage._executor = timed  # type: ignore[assignment]
    try:
        yield
    finally:
        stage._executor = executor


def _time(
    run: Run,
    call: Callable[[], object],
    marked: Callable[[DeviceClock], AbstractContextManager[None]],
) -> tuple[list[float], list[float]]:
    """Return, for each call, the device time of what is marked and the wall time."""
    clock = DeviceClock(run.device)

    def timed() -> tuple[list[float], list[float]]:
        for _ in range(WARM_CALLS):
            call()
        device_ms, wall_ms = [], []
        with marked(clock):
            for _ in range(run.measured):
                started_s = time.perf_counter()
                call()
                wall_ms.append(1000 * (time.perf_counter() - started_s))
                device_ms.append(sum(clock.take()))
        return device_ms, wall_ms

    return run.thread.run(timed)


def _latents(run: Run, size_px: int) -> list[FloatArray]:
    side = size_px // run.architecture.vae_scale_factor
    generator = torch.Generator().manual_seed(run.seed)
    shape = (max(run.rows), run.architecture.vae["latent_channels"], side, side)
    return list(torch.randn(shape, generator=generator).numpy())


def _flat(encoded: list[EncodedPrompt]) -> torch.Tensor:
    """Return all embeddings (N,) of the prompts, one after another."""
    arrays = [array for one in encoded for array in (one.prompt_embeds, one.pooled_prompt_embeds)]
    return torch.cat([torch.from_numpy(array).flatten() for array in arrays])
