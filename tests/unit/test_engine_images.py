"""Pixels and latents: every image is diffusers' image, whatever shares its steps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.random_sdxl import write_random_unet_file
from support.reference import max_difference, reference_images
from support.stages import Stages, events_of, latents_of, reference_request, steps_of, write_model

from leyden_server.denoiser.input_batch import InputBatch
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.model_repository.repository import SHIPPED_MODELS

LATENTS_TOLERANCE = 2e-3
"""Between an image's latents (deviation about 1) in a batch and alone, float32 on a CPU: other
batch sizes sum in another order, and up to 50 steps carry the difference on."""


@asynccontextmanager
async def loaded(model: ResolvedModel, *, row_cap: int = 8) -> AsyncIterator[Stages]:
    stages = Stages.load(model, row_cap=row_cap)
    try:
        yield stages
    finally:
        stages.denoiser.stop()


async def assert_like_diffusers(
    model: ResolvedModel, requests: list[dict[str, Any]], **reference: Any
) -> None:
    """Run all requests side by side and compare each with a diffusers run of its own."""
    async with loaded(model) as stages:
        images = await stages.images([stages.request(**request) for request in requests])
    for image, request in zip(images, requests, strict=True):
        (expected,) = reference_images(
            model.base_folder, **{**reference_request(request), **reference}
        )
        assert expected.std() > 10, "a picture this flat proves nothing"
        assert max_difference(image, expected) <= 1, request


def request(number: int, steps: int, guidance: float, **fields: Any) -> dict[str, Any]:
    return {
        "prompt": f"a red mountain over lake number {number} at dawn",
        "seed": 1000 + number,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "width_px": 64,
        "height_px": 64,
        **fields,
    }


@pytest.mark.parametrize("steps", [8, 4, 2, 1])
async def test_the_shipped_students_give_diffusers_pixels(steps: int) -> None:
    """By the folder that stock diffusers loads: its own UNet and scheduler, the base's parts."""
    name = f"leyden-tiny-lightning-{steps}step"
    one = request(steps, steps, 0.0, width_px=128, height_px=192)
    async with loaded(ModelRepository().resolve(name)) as stages:
        (image,) = await stages.images([stages.request(**one)])
    (expected,) = reference_images(SHIPPED_MODELS / name, **reference_request(one))
    assert expected.std() > 10, "a picture this flat proves nothing"
    assert max_difference(image, expected) <= 1


async def test_steps_guidance_and_sizes_give_diffusers_pixels(random_model: ResolvedModel) -> None:
    sizes = [(64, 64), (64, 64), (96, 64), (64, 96), (128, 72)]
    combinations = [(steps, guidance) for steps in (1, 4, 8, 50) for guidance in (0.0, 7.0)]
    requests = [
        request(
            number,
            steps,
            guidance,
            width_px=sizes[number % len(sizes)][0],
            height_px=sizes[number % len(sizes)][1],
            negative_prompt="fog and rain" if number % 4 == 3 else None,
        )
        for number, (steps, guidance) in enumerate(combinations * 2)
    ]
    await assert_like_diffusers(random_model, requests)


@dataclass(frozen=True)
class Variant:
    name: str
    shape: dict[str, Any] = field(default_factory=dict)
    model_yaml: str = ""
    reference: dict[str, Any] = field(default_factory=dict)
    """What the model.yaml changes, told to diffusers."""


VARIANTS = [
    Variant(
        "deeper",
        {
            "block_out_channels": (32, 64, 64),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (2, 4, 4),
            "layers_per_block": 2,
        },
    ),
    Variant(
        "wider encoders",
        {"text_encoder_width": 64, "text_encoder_2_width": 32, "mid_block_add_attention": False},
    ),
    Variant("two VAE blocks", {"vae_block_out_channels": (8, 16), "sample_size": 32}),
    Variant("float16 weights", {"dtype": torch.float16, "scaling_factor": 0.18215}),
    Variant("empty prompt is encoded", {"force_zeros_for_empty_prompt": False}),
    Variant("v_prediction", {"scheduler_overrides": {"prediction_type": "v_prediction"}}),
    Variant("sample", {"scheduler_overrides": {"prediction_type": "sample"}}),
    Variant("leading", {"scheduler_overrides": {"timestep_spacing": "leading"}}),
    Variant("ancestral folder", {"scheduler_class": "EulerAncestralDiscreteScheduler"}),
    Variant(
        "schedule of the entry",
        model_yaml="noise_schedule: {solvers: [euler_ancestral], timestep_spacing: linspace, "
        "prediction_type: v_prediction}",
        reference={
            "scheduler_class": "EulerAncestralDiscreteScheduler",
            "scheduler_overrides": {
                "timestep_spacing": "linspace",
                "prediction_type": "v_prediction",
            },
        },
    ),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
async def test_models_of_every_shape_give_diffusers_pixels(
    variant: Variant, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model", variant.model_yaml, seed=3, **variant.shape)
    requests = [
        request(1, 4, 0.0),
        request(2, 4, 7.0, width_px=96),
        request(3, 8, 2.0, negative_prompt="fog"),
        request(4, 3, 2.0),
    ]
    await assert_like_diffusers(model, requests, **variant.reference)


async def test_a_unet_file_is_laid_over_the_base(
    random_model: ResolvedModel, tmp_path: Path
) -> None:
    unet_file = write_random_unet_file(
        tmp_path / "student.safetensors", model_dir=random_model.base_folder, seed=9
    )
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "model.yaml").write_text(
        f"base: {random_model.base_folder}\nunet: ../student.safetensors\n", encoding="utf-8"
    )
    from leyden_server.model_repository import ModelRepository

    student = ModelRepository([folder]).resolve("student")
    requests = [request(1, 4, 0.0), request(2, 4, 7.0)]
    await assert_like_diffusers(student, requests, unet_file=unet_file)


@pytest.mark.parametrize("solver", ["euler", "euler_ancestral"])
async def test_what_shares_the_steps_changes_nothing(
    random_model: ResolvedModel, solver: str
) -> None:
    async with loaded(random_model) as stages:
        requests = [
            stages.request(
                **request(
                    number,
                    steps,
                    guidance,
                    negative_prompt="fog" if number % 2 else None,
                    solver=solver,
                )
            )
            for number, (steps, guidance) in enumerate(
                [(4, 0.0), (4, 7.0), (8, 0.0), (50, 0.0), (50, 7.0), (1, 2.0), (12, 1.0)]
            )
        ]
        together = await asyncio.gather(*(events_of(stages.denoiser, one) for one in requests))
        alone = [await events_of(stages.denoiser, one) for one in requests]

    assert all(max(step.batch_rows for step in steps_of(events)) > 2 for events in together)
    assert max(step.batch_rows for events in alone for step in steps_of(events)) == 2
    for shared, single in zip(together, alone, strict=True):
        assert np.abs(latents_of(single)).max() > 1
        np.testing.assert_allclose(
            latents_of(shared), latents_of(single), rtol=0, atol=LATENTS_TOLERANCE
        )


async def test_guidance_is_not_rounded_to_the_unets_precision(random_model: ResolvedModel) -> None:
    """In bfloat16 a scale of 7.3 would be 7.3125."""
    async with loaded(random_model) as stages:
        image = stages.denoiser._request_state(
            stages.request(**request(1, 4, 7.3)), emit=lambda event: None
        )
    image.to_device(torch.device("cpu"), torch.bfloat16, lambda prompt_embeds: prompt_embeds)
    inputs = InputBatch.gather([image], padded_rows=2)
    uncond, cond = torch.full((4, 8, 8), 1.0), torch.full((4, 8, 8), 3.0)
    noise_pred = torch.stack([uncond, cond]).to(torch.bfloat16)

    assert torch.equal(inputs.guided(noise_pred)[0], uncond + 7.3 * (cond - uncond))


async def test_images_of_different_solvers_share_their_steps(random_model: ResolvedModel) -> None:
    solvers = ["euler", "euler_ancestral", "euler", "euler_ancestral"]
    async with loaded(random_model) as stages:
        requests = [
            stages.request(**request(number, 6, 0.0, solver=solver))
            for number, solver in enumerate(solvers)
        ]
        together = await asyncio.gather(*(events_of(stages.denoiser, one) for one in requests))
        alone = [await events_of(stages.denoiser, one) for one in requests]

    assert max(step.batch_rows for events in together for step in steps_of(events)) == 4
    for shared, single in zip(together, alone, strict=True):
        assert np.abs(latents_of(shared) - latents_of(single)).max() < LATENTS_TOLERANCE


async def test_a_loop_that_starts_midway_runs_what_is_left(random_model: ResolvedModel) -> None:
    async with loaded(random_model) as stages:
        one = stages.request(**request(1, 4, 0.0))
        schedules = stages.denoiser._schedules
        whole = schedules.get("euler", 4)
        schedules._cache["euler", 4] = replace(whole, start=2)
        events = await events_of(stages.denoiser, one)

    steps = steps_of(events)
    assert [(step.step, step.timestep) for step in steps] == [
        (1, float(whole.timesteps[2])),
        (2, float(whole.timesteps[3])),
    ]
    assert latents_of(events).shape == (4, 8, 8)


async def test_the_seed_decides_and_requests_leave_no_trace(random_model: ResolvedModel) -> None:
    async with loaded(random_model) as stages:
        one = stages.request(**request(1, 4, 2.0))
        other = stages.request(**{**request(1, 4, 2.0), "seed": 5})
        first = latents_of(await events_of(stages.denoiser, one))
        between = latents_of(await events_of(stages.denoiser, other))
        again = latents_of(await events_of(stages.denoiser, one))

    assert np.array_equal(first, again)
    assert np.abs(first - between).max() > 0.5
