"""`leyden fit-previews`: the linear map from a model's latents to RGB, by least squares."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leyden_server.config import DenoiserConfig, TextEncoderConfig, VaeConfig
from leyden_server.errors import StartupError
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import Denoised, DenoiseRequest, FloatArray

__all__ = ["fit_previews"]

PROMPTS = (
    "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere",
    "A beautiful sunset over mountains, cinematic lighting",
    "a green forest at noon under a blue sky",
    "desert dunes at night",
    "a red house by the sea, storm clouds",
    "snow-capped hills at dawn, concept art",
    "a city street in the evening, neon lights",
    "a field of yellow flowers, oil painting",
)


def fit_previews(name: str, repositories: Sequence[Path], images: int) -> int:
    """Print the factors and how well they fit; return the exit code."""
    try:
        model = ModelRepository(repositories).resolve(name)
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    latents = asyncio.run(_sample(model, images))
    factors, bias, residual = _fit(latents, _decode(model, latents))
    print(f"# Least squares over {images} images; root mean square residual {residual:.3f}.")
    print("preview:")
    print(f"  factors: {[[round(float(v), 4) for v in row] for row in factors]}")
    print(f"  bias: {[round(float(v), 4) for v in bias]}")
    return 0


async def _sample(model: ResolvedModel, images: int) -> list[FloatArray]:
    from leyden_server.accelerator.device import device_and_dtype
    from leyden_server.denoiser.service import DenoiseService
    from leyden_server.text_encoder.encoder import PromptEncoder

    device, dtype = device_and_dtype(TextEncoderConfig().dtype)
    encoder = PromptEncoder(model, dtype=dtype, device=device, replica="")
    service = DenoiseService(model, DenoiserConfig(), "")
    latents = []
    try:
        for seed, prompt in zip(range(images), PROMPTS * images, strict=False):
            request = DenoiseRequest(
                request_id="",
                image_index=0,
                sampling=Sampling(
                    seed=seed,
                    width_px=model.width_px,
                    height_px=model.height_px,
                    num_inference_steps=model.steps.default,
                    guidance_scale=model.default_guidance_scale,
                    solver=model.solvers[0],
                ),
                prompt=encoder.encode([prompt])[0],
                negative_prompt=None,
                order=TravellingOrder(),
                preview=None,
            )
            async for event in service.denoise(request):
                if isinstance(event, Denoised):
                    latents.append(event.latents)
            print(f"\rimage {seed + 1} of {images}", end="", file=sys.stderr, flush=True)
    finally:
        service.stop()
        print(file=sys.stderr)
    return latents


def _decode(model: ResolvedModel, latents: Sequence[FloatArray]) -> list[FloatArray]:
    """Return each image at the latents' size: (H / 8, W / 8, 3), 0 … 1."""
    from leyden_server.accelerator.device import device_and_dtype
    from leyden_server.vae.decoder import VaeDecoder

    device, dtype = device_and_dtype(VaeConfig().dtype)
    decoder = VaeDecoder(model, dtype=dtype, device=device)
    factor = model.vae_scale_factor
    small = []
    for one in latents:
        pixels = decoder.decode([one])[0].astype(np.float32) / 255
        _, height, width = one.shape
        small.append(pixels.reshape(height, factor, width, factor, 3).mean(axis=(1, 3)))
    return small


def _fit(
    latents: Sequence[FloatArray], small: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray, float]:
    inputs = np.concatenate([one.reshape(one.shape[0], -1).T for one in latents])
    targets = np.concatenate([one.reshape(-1, 3) for one in small])
    inputs = np.concatenate([inputs, np.ones_like(inputs[:, :1])], axis=1)
    solution = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    residual = float(np.sqrt(np.mean((inputs @ solution - targets) ** 2)))
    return solution[:-1], solution[-1], residual
