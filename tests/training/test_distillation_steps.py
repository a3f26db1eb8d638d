"""A student's lesson is what diffusers' own sampler would walk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor

from leyden_training.distillation.lesson import Lesson, draw_lesson, load_text_encoders
from leyden_training.distillation.stage import Stage
from leyden_training.distillation.steps import (
    NoiseLevels,
    Prediction,
    add_more_noise,
    knots,
    step,
)
from leyden_training.latents import LatentDataset, load_latents
from leyden_training.parts import embedded_tokenizers, noise_schedule
from leyden_training.precision import mixed_precision

pytestmark = pytest.mark.usefixtures("alone")

CPU = torch.device("cpu")
LEVELS = NoiseLevels.of_sdxl(CPU)
STAGE = Stage(steps=2, teacher_steps=8, guidance_scale=2.5, batch=6)


def euler(latents: Tensor, prediction: Tensor, steps: int, index: int, kind: Prediction) -> Tensor:
    """Where `EulerDiscreteScheduler` goes from here, in latents of the same variance."""
    scheduler = noise_schedule(kind)
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(index)
    sigma, then = scheduler.sigmas[index : index + 2]
    end: Tensor = scheduler.step(
        prediction, scheduler.timesteps[index], latents * (sigma**2 + 1).sqrt()
    ).prev_sample
    strength: Tensor = (then**2 + 1).sqrt()
    return end / strength


@pytest.mark.parametrize("kind", ["epsilon", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 32])
def test_a_step_is_eulers(kind: Prediction, steps: int) -> None:
    generator, walk = torch.Generator().manual_seed(steps), knots(steps)
    assert len(walk) == steps + 1
    latents, prediction = torch.randn((2, steps, 4, 4, 4), generator=generator)
    moved = step(
        latents,
        prediction,
        levels=LEVELS,
        timesteps=torch.tensor(walk[:-1]),
        next_timesteps=torch.tensor(walk[1:]),
        prediction_type=kind,
    )
    for index in range(steps):
        row = slice(index, index + 1)
        wanted = euler(latents[row], prediction[row], steps, index, kind)
        torch.testing.assert_close(moved[row], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("now", "later"), [(-1, 10), (249, 750), (500, 500)])
def test_more_noise_gives_what_noising_at_once_would(now: int, later: int) -> None:
    """A picture of √ᾱ keeps that share; the variances of old and fresh noise add up to 1 - ᾱ."""
    at, to = torch.tensor([now]), torch.tensor([later])

    def moved(latents: float, noise: float) -> float:
        ones = torch.ones(1, 4, 2, 2)
        found = add_more_noise(latents * ones, noise * ones, levels=LEVELS, timesteps=at, later=to)
        assert found.min() == found.max()
        return found.max().item()

    before, after = LEVELS.at(at).item(), LEVELS.at(to).item()
    assert moved(before**0.5, 0) == pytest.approx(after**0.5, rel=1e-5)
    variance = moved((1 - before) ** 0.5, 0) ** 2 + moved(0, 1) ** 2
    assert variance == pytest.approx(1 - after, rel=1e-4)


def load_teacher(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder / "base" / "unet", dtype=torch.float32)


def draw(folder: Path, dataset: LatentDataset, stage: Stage = STAGE) -> Lesson:
    return draw_lesson(
        dataset,
        load_teacher(folder),
        load_text_encoders(folder / "base", CPU),
        levels=LEVELS,
        stage=stage,
        random=np.random.default_rng(5),
        device=CPU,
    )


def stock_walk(folder: Path, lesson: Lesson, guidance_scale: float) -> Tensor:
    """The ends of diffusers' own loop from the lesson's starts: scale, both rows, guide, step."""
    teacher, ends = load_teacher(folder), []
    for row, at in enumerate(lesson.timesteps.tolist()):
        scheduler = noise_schedule()
        scheduler.set_timesteps(STAGE.teacher_steps)
        first = scheduler.timesteps.tolist().index(at)
        scheduler.set_begin_index(first)
        embeds, pooled, sizes = (
            t[row : row + 1]
            for t in (
                lesson.condition.prompt_embeds,
                lesson.condition.pooled_prompt_embeds,
                lesson.condition.add_time_ids,
            )
        )
        sample = lesson.start[row : row + 1] * (scheduler.sigmas[first] ** 2 + 1).sqrt()
        for timestep in scheduler.timesteps[first : first + STAGE.substeps]:
            scaled = scheduler.scale_model_input(torch.cat([sample] * 2), timestep)
            with torch.no_grad(), mixed_precision(CPU):
                without, with_prompt = teacher(
                    scaled,
                    timestep,
                    torch.cat([torch.zeros_like(embeds), embeds]),
                    added_cond_kwargs={
                        "text_embeds": torch.cat([torch.zeros_like(pooled), pooled]),
                        "time_ids": torch.cat([sizes] * 2),
                    },
                ).sample.chunk(2)
            guided = without + guidance_scale * (with_prompt - without)
            sample = scheduler.step(guided.float(), timestep, sample).prev_sample
        sigma = scheduler.sigmas[first + STAGE.substeps]
        ends.append(sample / (sigma**2 + 1).sqrt())
    return torch.cat(ends)


def test_the_teachers_walk_is_diffusers_loop_with_guidance(tiny_folder: Path) -> None:
    lesson = draw(tiny_folder, load_latents(tiny_folder / "latents"))
    assert {*lesson.timesteps.tolist()} == {999, 499}
    assert {*lesson.next_timesteps.tolist()} == {499, -1}
    moved = (lesson.teacher_end - lesson.start).norm()
    apart, unguided = (
        (lesson.teacher_end - stock_walk(tiny_folder, lesson, scale)).norm() / moved
        for scale in (STAGE.guidance_scale, 1.0)
    )
    # In bfloat16, rows that are computed together round otherwise than one by one.
    assert apart < 0.01
    assert unguided > 5 * apart


def test_the_first_step_starts_at_the_samplers_noise(tiny_folder: Path) -> None:
    """No trace of the picture, which SDXL's last noise level would leave."""
    dataset = load_latents(tiny_folder / "latents")
    others = LatentDataset(tuple(replace(b, latents=b.latents + 1) for b in dataset.buckets))
    lesson, other = (draw(tiny_folder, d, replace(STAGE, batch=64)) for d in (dataset, others))
    first = lesson.timesteps == 999
    torch.testing.assert_close(lesson.start[first], other.start[first], rtol=0, atol=0)
    assert (lesson.start[~first] - other.start[~first]).abs().mean() > 0.1

    scheduler = noise_schedule()
    scheduler.set_timesteps(STAGE.teacher_steps)
    noise = torch.ones(1) * scheduler.init_noise_sigma
    strength = scheduler.scale_model_input(noise, scheduler.timesteps[0])
    assert lesson.start[first].std() == pytest.approx(strength.item(), rel=0.02)


def test_the_conditioning_is_the_stock_pipelines(tiny_folder: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tiny_folder / "base", dtype=torch.float32, add_watermarker=False
    )
    prompt = "a lake at sunrise, photograph"
    embeds, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    ids = [
        t(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids
        for t in embedded_tokenizers()
    ]
    condition = load_text_encoders(tiny_folder / "base", CPU)(torch.stack(ids, dim=1), 96, 64)
    torch.testing.assert_close(condition.prompt_embeds, embeds)
    torch.testing.assert_close(condition.pooled_prompt_embeds, pooled)
    assert condition.add_time_ids.tolist() == [[64, 96, 0, 0, 64, 96]]
