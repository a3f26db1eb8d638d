"""Runs requests side by side in this process and compares each with stock diffusers."""

from pathlib import Path
from typing import Any

from support.reference import max_difference, reference_images
from support.stages import Stages, reference_request

from leyden_server.model_repository import ResolvedModel


def request(number: int, steps: int, guidance: float, **fields: Any) -> dict[str, Any]:
    return {
        "prompt": f"a red mountain over lake number {number} at dawn",
        "seed": 70 + number,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "width_px": 64,
        "height_px": 64,
        **fields,
    }


async def assert_like_diffusers(
    model: ResolvedModel, requests: list[dict[str, Any]], folder: Path, **reference: Any
) -> None:
    stages = Stages.load(model)
    try:
        images = await stages.images([stages.request(**one) for one in requests])
    finally:
        stages.denoiser.stop()
    for image, one in zip(images, requests, strict=True):
        wanted = {name: value for name, value in one.items() if name != "solver"}
        (expected,) = reference_images(folder, **reference_request(wanted), **reference)
        assert expected.std() > 10, "a picture this flat proves nothing"
        assert max_difference(image, expected) <= 1, one
