"""Which steps have a preview, how large it is, and what it shows."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support.stages import (
    events_of,
    latents_of,
    load_denoiser,
    plain_request,
    random_prompt,
    sampled,
    steps_of,
)

from leyden_server.denoiser.previews import make_preview
from leyden_server.denoiser.service import DenoiseService
from leyden_server.model_repository import ResolvedModel
from leyden_server.model_repository.entry import PreviewFactors
from leyden_server.stages.contract import PreviewRequest

FACTORS = PreviewFactors(
    factors=((0.1, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 0.3), (0.0, 0.0, 0.0)),
    bias=(0.5, 0.25, 0.0),
)


@pytest.mark.parametrize(
    ("steps", "every", "due"),
    [
        (4, 1, [1, 2, 3, 4]),
        (4, 2, [2, 4]),
        (4, 3, [1, 4]),
        (7, 3, [1, 4, 7]),
        (4, 4, [4]),
        (4, 100, [4]),
        (1, 2, [1]),
    ],
)
async def test_previews_are_counted_from_the_last_step(
    service: DenoiseService, random_model: ResolvedModel, steps: int, every: int, due: list[int]
) -> None:
    request = replace(
        sampled(plain_request(random_model, random_prompt(service)), num_inference_steps=steps),
        preview=PreviewRequest(size_px=0, every_steps=every, format="PNG"),
    )
    events = steps_of(await events_of(service, request))

    assert [event.step for event in events if event.preview is not None] == due
    assert len(events) == steps


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("size_px", "expected"), [(0, (12, 8)), (96, (96, 64)), (30, (30, 20)), (1, (1, 1))]
)
async def test_a_preview_has_the_size_that_was_asked_for(
    service: DenoiseService,
    random_model: ResolvedModel,
    size_px: int,
    expected: tuple[int, int],
    image_format: str,
) -> None:
    request = replace(
        sampled(
            plain_request(random_model, random_prompt(service)),
            width_px=96,
            num_inference_steps=1,
        ),
        preview=PreviewRequest(size_px=size_px, every_steps=1, format=image_format),
    )
    (step,) = steps_of(await events_of(service, request))

    assert step.preview is not None
    assert (step.preview.width_px, step.preview.height_px) == expected
    assert step.preview.format == image_format
    with Image.open(io.BytesIO(step.preview.data)) as image:
        assert image.size == expected
        assert image.format == image_format


async def test_the_last_preview_shows_the_final_latents(
    service: DenoiseService, random_model: ResolvedModel
) -> None:
    request = replace(
        plain_request(random_model, random_prompt(service)),
        preview=PreviewRequest(size_px=0, every_steps=4, format="PNG"),
    )
    events = await events_of(service, request)
    preview = steps_of(events)[-1].preview
    assert preview is not None
    assert random_model.preview is not None
    with Image.open(io.BytesIO(preview.data)) as image:
        pixels = np.asarray(image).astype(np.float64)

    factors = np.array(random_model.preview.factors)
    rgb = np.tensordot(latents_of(events), factors, axes=(0, 0)) + random_model.preview.bias
    assert pixels.std() > 10
    np.testing.assert_allclose(pixels, rgb.clip(0, 1) * 255, rtol=0, atol=1)


def test_the_map_is_linear_and_clips() -> None:
    latents = torch.zeros(4, 2, 3)
    latents[:, 0, 1] = torch.tensor([1.0, 1.0, 1.0, 50.0])
    latents[:, 1, 2] = torch.tensor([100.0, -100.0, 2.0, 0.0])
    preview = make_preview(latents, FACTORS, PreviewRequest(0, 1, "PNG"))
    with Image.open(io.BytesIO(preview.data)) as image:
        pixels = np.asarray(image)

    assert pixels.shape == (2, 3, 3)
    assert pixels[0, 0].tolist() == [128, 64, 0]
    assert pixels[0, 1].tolist() == [153, 115, 76]
    assert pixels[1, 2].tolist() == [255, 0, 153]


async def test_a_model_without_factors_sends_none(random_model: ResolvedModel) -> None:
    service = load_denoiser(replace(random_model, preview=None))
    request = replace(
        plain_request(random_model, random_prompt(service)),
        preview=PreviewRequest(size_px=0, every_steps=1, format="PNG"),
    )
    try:
        events = steps_of(await events_of(service, request))
    finally:
        service.stop()

    assert [event.preview for event in events] == [None] * 4
