"""The server's pixels against `StableDiffusionXLPipeline` in float32: at most 1/255 apart."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from server.conftest import BASE, LIGHTNING, RANDOM
from support.reference import max_difference, reference_images
from support.running_server import RunningServer

from leyden_server.model_repository.repository import SHIPPED_MODELS

TOLERANCE = 1


def reference(model: str, random_model: Path, **fields: Any) -> list[NDArray[np.uint8]]:
    folder = random_model if model == RANDOM else SHIPPED_MODELS / model
    negative_prompt = fields.pop("negative_prompt", "") or None
    return reference_images(
        folder,
        prompt=fields["prompt"],
        negative_prompt=negative_prompt,
        seed=fields["seed"],
        width=fields["width_px"],
        height=fields["height_px"],
        num_inference_steps=fields["num_inference_steps"],
        guidance_scale=fields["guidance_scale"],
        image_count=fields.get("image_count", 1),
    )


CASES = [
    (LIGHTNING, 4, 0.0, 256, 256, ""),
    (LIGHTNING, 4, 2.0, 128, 64, ""),
    (BASE, 1, 0.0, 128, 128, ""),
    (BASE, 8, 7.0, 96, 128, "blurry"),
    (BASE, 50, 7.0, 128, 128, ""),
    (RANDOM, 4, 0.0, 64, 64, ""),
    (RANDOM, 8, 7.0, 40, 72, ""),
    (RANDOM, 50, 7.0, 64, 64, "blurry, low quality"),
]


@pytest.mark.parametrize(("model", "steps", "guidance", "width", "height", "negative"), CASES)
def test_one_image_equals_the_reference(
    server: RunningServer,
    random_model: Path,
    model: str,
    steps: int,
    guidance: float,
    width: int,
    height: int,
    negative: str,
) -> None:
    fields: dict[str, Any] = {
        "prompt": "a mountain lake at sunrise",
        "negative_prompt": negative,
        "seed": 11,
        "width_px": width,
        "height_px": height,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
    }
    reply = server.generate(model=model, **fields)
    expected = reference(model, random_model, **fields)[0]
    assert reply.pixels().shape == (height, width, 3)
    assert max_difference(reply.pixels(), expected) <= TOLERANCE


@pytest.mark.parametrize("model", [LIGHTNING, RANDOM])
def test_eight_images_of_one_request_equal_the_reference(
    server: RunningServer, random_model: Path, model: str
) -> None:
    size = 128 if model == LIGHTNING else 64
    fields: dict[str, Any] = {
        "prompt": "dunes at noon",
        "seed": 2**53 - 8,
        "width_px": size,
        "height_px": size,
        "num_inference_steps": 4,
        "guidance_scale": 0.0,
        "image_count": 8,
    }
    reply = server.generate(model=model, **fields)
    expected = reference(model, random_model, **fields)
    differences = [max_difference(reply.pixels(i), expected[i]) for i in range(8)]
    assert max(differences) <= TOLERANCE
    assert [image.seed for image in sorted(reply.of("image"), key=lambda i: i.image_index)] == [
        2**53 - 8 + i for i in range(8)
    ]


def test_an_image_in_a_batch_of_strangers_equals_the_reference(
    server: RunningServer, random_model: Path
) -> None:
    strangers: list[dict[str, Any]] = [
        {
            "prompt": f"a forest, picture {i}",
            "seed": 100 + i,
            "width_px": 128,
            "height_px": 128,
            "num_inference_steps": 8 + i,
            "guidance_scale": 7.0 if i % 2 else 0.0,
        }
        for i in range(8)
    ]
    with ThreadPoolExecutor(len(strangers)) as pool:
        replies = list(pool.map(lambda f: server.generate(model=BASE, **f), strangers))
    shared = [max(p.batch_rows for p in reply.of("denoise_progress")) for reply in replies]
    assert min(shared) > 2, f"no image shared a batch: rows {shared}"
    for fields, reply in zip(strangers, replies, strict=True):
        expected = reference(BASE, random_model, **fields)[0]
        assert max_difference(reply.pixels(), expected) <= TOLERANCE
