"""Students learn, can be stopped, and are sampled by the stock pipeline as they were trained."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from support.tiny_training import ALONE, SIDE, assert_same_weights, checkpoint_of, stopped_in
from torch import Tensor, nn

from leyden_training.distillation.discriminator import Discriminator
from leyden_training.distillation.lesson import Lesson, draw_lesson, load_text_encoders
from leyden_training.distillation.stage import Stage
from leyden_training.distillation.steps import NoiseLevels, step
from leyden_training.distillation.training import distil
from leyden_training.latents import load_latents
from leyden_training.precision import mixed_precision
from leyden_training.teacher import Conditioning, predict
from leyden_training.workers import Workers

pytestmark = pytest.mark.usefixtures("alone")

CPU = torch.device("cpu")
LEVELS = NoiseLevels.of_sdxl(CPU)
SHORT = Stage(
    steps=4,
    teacher_steps=8,
    distillation_iterations=2,
    conditional_iterations=3,
    unconditional_iterations=2,
    batch=4,
)


def train(folder: Path, run: Path, stage: Stage, workers: Workers = ALONE) -> None:
    distil(
        workers,
        pipeline_folder=folder / "base",
        teacher_unet=folder / "base" / "unet",
        latents=folder / "latents",
        run=run,
        stage=stage,
        seed=0,
    )


def load_unet(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def end_of(unet: UNet2DConditionModel, lesson: Lesson, stage: Stage) -> Tensor:
    return step(
        lesson.start,
        predict(unet, lesson.start, lesson.timesteps, lesson.condition),
        levels=LEVELS,
        timesteps=lesson.timesteps,
        next_timesteps=lesson.next_timesteps,
        prediction_type=stage.prediction,
    )


def test_a_short_distillation_brings_the_ends_nearer(tiny_folder: Path, tmp_path: Path) -> None:
    stage = Stage(
        steps=2,
        teacher_steps=8,
        guidance_scale=2.5,
        distillation_iterations=50,
        conditional_iterations=0,
        unconditional_iterations=0,
        batch=8,
        learning_rate=1e-3,
        ema_decay=0.9,
    )
    train(tiny_folder, tmp_path, stage)
    teacher = load_unet(tiny_folder / "base" / "unet")
    lesson = draw_lesson(
        load_latents(tiny_folder / "latents"),
        teacher,
        load_text_encoders(tiny_folder / "base", CPU),
        levels=LEVELS,
        stage=replace(stage, batch=64),
        random=np.random.default_rng(99),
        device=CPU,
    )
    before, after = (
        F.mse_loss(end_of(unet, lesson, stage), lesson.teacher_end).item()
        for unet in (teacher, load_unet(tmp_path / "unet"))
    )
    assert after < 0.7 * before
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == [*range(10, 51, 10)]
    assert {row["generator"] for row in rows} == {"nan"}


def test_stopped_and_resumed_is_the_same_as_uninterrupted(
    tiny_folder: Path, tmp_path: Path
) -> None:
    train(tiny_folder, tmp_path / "whole", SHORT)
    train(tiny_folder, tmp_path / "parts", SHORT, stopped_in(update=4))  # in the conditional part
    assert checkpoint_of(tmp_path / "parts")["iteration"] == 3
    assert not (tmp_path / "parts" / "unet").exists()
    train(tiny_folder, tmp_path / "parts", SHORT)
    whole, parts = checkpoint_of(tmp_path / "whole"), checkpoint_of(tmp_path / "parts")
    assert whole["iteration"] == parts["iteration"] == SHORT.iterations
    for part in ("student", "average", "discriminator"):
        assert_same_weights(parts[part], whole[part])
    students = [load_unet(tmp_path / run / "unet").conv_out.weight for run in ("whole", "parts")]
    torch.testing.assert_close(*students, rtol=0, atol=0)


def test_gradients_of_the_discriminators_heads_are_right_on_the_smallest_maps(
    tiny_folder: Path,
) -> None:
    """At 64 px their last convolution sees one pixel; see `Discriminator.logits`."""
    discriminator = Discriminator(load_unet(tiny_folder / "base" / "unet"))
    deepest_head = discriminator.unconditional_heads[-1]
    assert isinstance(deepest_head, nn.Sequential)
    last = deepest_head[3]
    assert isinstance(last, nn.Conv2d)
    weight = last.weight
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn((4, head[0].weight.shape[1], 2, 2), generator=generator)  # type: ignore[index]
        for head in discriminator.unconditional_heads
    ]
    for _ in range(10):
        leftovers = [torch.full_like(weight, torch.nan) for _ in range(50)]
        del leftovers  # what a gradient that is not written would show
        discriminator.zero_grad()
        with mixed_precision(CPU):
            logits = discriminator.logits(features, None)
        logits.square().mean().backward()  # type: ignore[no-untyped-call]
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad[:, :, 0, 0].abs().max() == 0  # a corner that sees padding alone


def test_a_one_step_student_is_sampled_by_the_stock_pipeline_as_trained(
    tiny_folder: Path, tmp_path: Path
) -> None:
    stage = replace(SHORT, steps=1, teacher_steps=2, prediction="sample")
    train(tiny_folder, tmp_path, stage)
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tiny_folder / "base", dtype=torch.float32, add_watermarker=False
    )
    pipeline.unet = load_unet(tmp_path / "unet")
    pipeline.scheduler = EulerDiscreteScheduler.from_config(
        pipeline.scheduler.config, prediction_type="sample", timestep_spacing="trailing"
    )
    pipeline.set_progress_bar_config(disable=True)
    embeds, _, pooled, _ = pipeline.encode_prompt(
        "dunes at night", do_classifier_free_guidance=False
    )
    noise = torch.randn((1, 4, SIDE // 8, SIDE // 8), generator=torch.Generator().manual_seed(3))
    stock = pipeline(
        prompt_embeds=embeds,
        pooled_prompt_embeds=pooled,
        latents=noise.clone(),
        num_inference_steps=1,
        guidance_scale=0.0,
        output_type="latent",
    ).images

    first = torch.tensor([999])
    lesson = Lesson(
        start=noise * (1 - LEVELS.at(first)).sqrt(),
        timesteps=first,
        next_timesteps=torch.tensor([-1]),
        teacher_end=noise,
        condition=Conditioning(
            embeds, pooled, torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], dtype=torch.float32)
        ),
    )
    torch.testing.assert_close(stock, end_of(pipeline.unet, lesson, stage), rtol=1e-4, atol=1e-4)
    as_epsilon = end_of(pipeline.unet, lesson, replace(stage, prediction="epsilon"))
    assert (stock - as_epsilon).abs().mean() > 1
