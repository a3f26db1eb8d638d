"""The text encoders and the image decoder, called as their deployments call them."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.on_gpu.comparison import compare
from benchmarks.on_gpu.machine import free_memory, reset_memory
from benchmarks.on_gpu.random_weights import resolved, write_text_encoders, write_vae
from benchmarks.on_gpu.run import Row, Run, gave_up
from benchmarks.on_gpu.timing import DeviceClock, timed_modules
from leyden_server.image_decoder.decoder import VaeDecoder
from leyden_server.stages.messages import EncodedPrompt, FloatArray
from leyden_server.text_encoder.encoder import PromptEncoder

__all__ = ["image_decoder_rows", "text_encoder_rows"]

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

    def load(dtype: torch.dtype) -> PromptEncoder:
        return run.thread.run(
            PromptEncoder,
            resolved(run.folder),
            dtype=dtype,
            device=run.device,
            replica="benchmark",
        )

    prompts = [f"{PROMPT}, {number}" for number in range(max(run.rows))]
    run.say("text encoders: reference in float32")
    reference = load(torch.float32)
    expected = [_flat(run.thread.run(reference.encode, [prompt])) for prompt in prompts]
    del reference
    free_memory(run.device)
    encoder = load(run.dtype)
    models: list[nn.Module] = encoder._text_encoders
    for rows in run.rows:
        run.say(f"text encoders: {rows} prompts")
        some = prompts[:rows]
        what = {"stage": "text_encoders", "rows": rows}
        reset_memory(run.device)
        result = _flat(run.thread.run(encoder.encode, some))
        device_ms, wall_ms = _time(run, partial(encoder.encode, some), models)
        yield run.row(
            what,
            compare(result, torch.cat(expected[:rows]), tolerance=run.tolerance),
            device_ms=device_ms,
            wall_ms=wall_ms,
            flop=rows * run.costs.text_encoders_flop,
        )


def image_decoder_rows(run: Run) -> Iterator[Row]:
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

    def load(dtype: torch.dtype) -> VaeDecoder:
        model = resolved(run.folder)
        return run.thread.run(VaeDecoder, model, dtype=dtype, device=run.device)

    latents = {size: _latents(run, size) for size in run.sizes_px}
    reference = load(torch.float32)
    expected = {}
    for size in run.sizes_px:
        run.say(f"image decoder: reference in float32, {size} px")
        one_by_one = [run.thread.run(reference.decode, [one])[0] for one in latents[size]]
        expected[size] = torch.from_numpy(np.stack(one_by_one))
    del reference
    free_memory(run.device)
    decoder = load(run.dtype)
    # The private parts are only hooked, to tell the model's time from that of the copies around it.
    models: list[nn.Module] = [decoder._vae.decoder]
    for size in run.sizes_px:
        for rows in run.rows:
            run.say(f"image decoder: {rows} images, {size} px")
            some = latents[size][:rows]
            what = {"stage": "image_decoder", "size_px": size, "rows": rows}
            reset_memory(run.device)
            try:
                pixels = torch.from_numpy(np.stack(run.thread.run(decoder.decode, some)))
                device_ms, wall_ms = _time(run, partial(decoder.decode, some), models)
            except torch.OutOfMemoryError as error:
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
                )
            # Not in the except: until its end the error keeps what it ran out over.
            if "not_measured" in row:
                free_memory(run.device)
            yield row


def _time(
    run: Run, call: Callable[[], object], models: list[nn.Module]
) -> tuple[list[float], list[float]]:
    """Return, for each call, the device time of the models' forwards and the wall time."""
    clock = DeviceClock(run.device)

    def timed() -> tuple[list[float], list[float]]:
        for _ in range(WARM_CALLS):
            call()
        device_ms, wall_ms = [], []
        with timed_modules(models, clock):
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
