"""Pixels of every solver: each image is diffusers' image, among images of any solver and step."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from support.checkpoint_files import write_random_lora
from support.pixels import request
from support.random_sdxl import write_random_unet_file
from support.reference import max_difference, reference_images
from support.stages import Stages, events_of, latents_of, reference_request, steps_of, write_model

from leyden_server.denoiser.noise_schedule import NoiseSchedules
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.model_repository.entry import DEFAULT_ETA
from leyden_server.sampling import SolverName

DPM_SOLVER = "DPMSolverMultistepScheduler"
REFERENCES: dict[str, dict[str, Any]] = {
    "euler": {"scheduler_class": "EulerDiscreteScheduler"},
    "euler_ancestral": {"scheduler_class": "EulerAncestralDiscreteScheduler"},
    "lcm": {"scheduler_class": "LCMScheduler"},
    "tcd": {"scheduler_class": "TCDScheduler"},
    "dpmpp_2m": {
        "scheduler_class": DPM_SOLVER,
        "scheduler_overrides": {"algorithm_type": "dpmsolver++"},
    },
    "dpmpp_2m_sde": {
        "scheduler_class": DPM_SOLVER,
        "scheduler_overrides": {"algorithm_type": "sde-dpmsolver++"},
    },
}
OF_BASES = "noise_schedule: {solvers: [dpmpp_2m, dpmpp_2m_sde, euler, euler_ancestral]}\n"
OF_STUDENTS = """\
noise_schedule: {solvers: [lcm, tcd, euler, euler_ancestral], eta: 0.3}
num_inference_steps: {default: 4, min: 1, max: 50}
"""


@asynccontextmanager
async def loaded(model: ResolvedModel) -> AsyncIterator[Stages]:
    stages = Stages.load(model)
    try:
        yield stages
    finally:
        stages.denoiser.stop()


async def assert_like_diffusers(
    model: ResolvedModel,
    requests: list[dict[str, Any]],
    *,
    rows: int | None = None,
    folder: Path | None = None,
    **reference: Any,
) -> None:
    """Run the requests side by side, up to `rows` a step, and each by diffusers alone.

    diffusers has its parts from `folder`, the model's base where it is not named.
    """
    async with loaded(model) as stages:
        runs = await stages.runs([stages.request(**one) for one in requests])
        images = [stages.decoder.decode([latents_of(events)])[0] for events in runs]
    for events, one in zip(runs, requests, strict=True):
        assert [step.step for step in steps_of(events)] == [
            *range(1, one["num_inference_steps"] + 1)
        ]
    if rows is not None:
        assert max(step.batch_rows for events in runs for step in steps_of(events)) == rows
    for image, one in zip(images, requests, strict=True):
        fields = {name: value for name, value in one.items() if name != "solver"}
        arguments = {
            **reference_request(fields),
            "eta": model.eta,
            **REFERENCES[one["solver"]],
            **reference,
        }
        (expected,) = reference_images(folder or model.base_folder, **arguments)
        assert expected.std() > 10, "a picture this flat proves nothing"
        assert max_difference(image, expected) <= 1, one


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    return write_model(tmp_path_factory.mktemp("models") / "base", OF_BASES, seed=3)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    return write_model(tmp_path_factory.mktemp("models") / "student", OF_STUDENTS, seed=4)


def at_different_steps(*solvers: str) -> list[dict[str, Any]]:
    """Ten images, of which eight are in a step: as short ones end the others join."""
    counts = (1, 2, 5, 8, 3, 14, 15, 4, 6, 20)
    return [
        request(number, steps, 0.0, solver=solvers[number % len(solvers)])
        for number, steps in enumerate(counts)
    ]


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpmpp_2m_sde"])
async def test_a_base_by_dpm_solver_gives_diffusers_pixels(
    base: ResolvedModel, solver: str
) -> None:
    await assert_like_diffusers(base, [request(1, 12, 0.0, solver=solver)], rows=1)
    await assert_like_diffusers(base, at_different_steps(solver), rows=8)
    guided = [request(number, 4 + number, 5.0, solver=solver) for number in range(4)]
    await assert_like_diffusers(base, guided, rows=8)


@pytest.mark.parametrize("solver", ["lcm", "tcd"])
async def test_a_student_by_consistency_gives_diffusers_pixels(
    student: ResolvedModel, solver: str
) -> None:
    await assert_like_diffusers(student, [request(1, 4, 0.0, solver=solver)], rows=1)
    await assert_like_diffusers(student, at_different_steps(solver), rows=8)
    guided = [request(number, 2 + number, 1.5, solver=solver) for number in range(4)]
    await assert_like_diffusers(student, guided, rows=8)


async def test_images_of_all_solvers_share_their_steps(
    base: ResolvedModel, student: ResolvedModel
) -> None:
    for model in (base, student):
        await assert_like_diffusers(model, at_different_steps(*model.solvers), rows=8)


V_AT_ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


@pytest.mark.parametrize(
    ("schedule", "solvers"),
    [
        (V_AT_ZERO_SNR, ["euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde"]),
        (V_AT_ZERO_SNR, ["lcm", "tcd"]),
        ({"prediction_type": "sample"}, ["euler", "dpmpp_2m", "dpmpp_2m_sde"]),
        ({"prediction_type": "sample"}, ["lcm", "tcd"]),
        ({"use_karras_sigmas": True}, ["euler", "dpmpp_2m", "dpmpp_2m_sde"]),
    ],
    ids=", ".join,
)
async def test_other_schedules_give_diffusers_pixels(
    schedule: dict[str, Any], solvers: list[str], tmp_path: Path
) -> None:
    model = write_model(
        tmp_path / "model",
        f"noise_schedule: {{solvers: [{', '.join(solvers)}]{', eta: 0.3' * ('tcd' in solvers)}}}\n"
        "num_inference_steps: {default: 4, min: 1, max: 20}\n",
        scheduler_overrides=schedule,
    )
    requests = [
        request(number, steps, 0.0, solver=solver)
        for number, (solver, steps) in enumerate(product(solvers, (1, 6)))
    ]
    await assert_like_diffusers(model, requests)


async def test_61_steps_are_diffusers_on_the_first_61_timesteps(base: ResolvedModel) -> None:
    timesteps = NoiseSchedules(base.scheduler_config).get("dpmpp_2m", 61).timesteps
    one = request(1, 61, 0.0, solver="dpmpp_2m")
    await assert_like_diffusers(base, [one], timesteps=[int(one) for one in timesteps])


@pytest.mark.parametrize("solver", ["lcm", "tcd", "euler"])
async def test_timesteps_of_the_card_give_diffusers_pixels(solver: str, tmp_path: Path) -> None:
    own = {1: [399], 4: [999, 749, 499, 249]}
    model = write_model(
        tmp_path / "model",
        f"noise_schedule: {{solvers: [{solver}], timesteps: {own}}}\n"
        "num_inference_steps: {default: 4, min: 1, max: 8}\n",
    )
    for steps, timesteps in own.items():
        one = request(steps, steps, 0.0, solver=solver)
        await assert_like_diffusers(model, [one], timesteps=timesteps)
    await assert_like_diffusers(model, [request(3, 3, 0.0, solver=solver)])


@pytest.mark.parametrize(("said", "eta"), [("", 0.0), (", eta: 0.3", 0.3), (", eta: 1", 1.0)])
async def test_eta_gives_diffusers_pixels(said: str, eta: float, tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "model",
        f"noise_schedule: {{solvers: [tcd]{said}}}\n"
        "num_inference_steps: {default: 4, min: 1, max: 8}\n",
    )
    await assert_like_diffusers(model, [request(1, 4, 0.0, solver="tcd")], eta=eta)


def test_eta_is_that_of_diffusers_pipeline_unless_told() -> None:
    assert signature(StableDiffusionXLPipeline.__call__).parameters["eta"].default == DEFAULT_ETA


async def test_tcd_without_noise_is_ddim_on_trailing_timesteps(tmp_path: Path) -> None:
    """Of the schedule that SDXL's config has: nothing is clipped, and no step ends before 0."""
    trailing = {steps: [*range(999, -1, -1000 // steps)] for steps in (2, 4, 8)}
    model = write_model(
        tmp_path / "model",
        f"noise_schedule: {{solvers: [tcd], timesteps: {trailing}}}\n"
        "num_inference_steps: {default: 4, min: 1, max: 8}\n",
        seed=6,
    )
    requests = [request(number, (2, 4, 8)[number % 3], 0.0, solver="tcd") for number in range(10)]
    requests.append(request(10, 4, 1.5, solver="tcd"))
    await assert_like_diffusers(
        model,
        requests,
        rows=8,
        scheduler_class="DDIMScheduler",
        scheduler_overrides={
            "timestep_spacing": "trailing",
            "clip_sample": False,
            "set_alpha_to_one": False,
        },
    )


async def test_a_unet_distilled_with_guidance_reads_its_scale(tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "model", OF_STUDENTS, time_cond_proj_dim=32, force_zeros_for_empty_prompt=False
    )
    requests = [
        request(number, 4, scale, solver=("lcm", "tcd")[number % 2])
        for number, scale in enumerate([0.0, 1.0, 1.5, 8.0] * 2)
    ]
    await assert_like_diffusers(model, requests, rows=8)

    async with loaded(model) as stages:
        latents = [
            latents_of(await events_of(stages.denoiser, stages.request(**request(1, 4, scale))))
            for scale in (1.5, 8.0)
        ]
    assert np.abs(latents[0] - latents[1]).max() > 0.1, "the scale changes nothing"


@pytest.mark.parametrize("embedded", [True, False])
async def test_a_unet_file_says_itself_whether_it_was_distilled_with_guidance(
    embedded: bool, base: ResolvedModel, tmp_path: Path
) -> None:
    """LCM-SDXL's UNet comes so: a file over SDXL base, whose own UNet reads no scale."""
    distilled = write_model(tmp_path / "distilled", OF_STUDENTS, time_cond_proj_dim=32)
    own, other = (distilled, base) if embedded else (base, distilled)
    file = tmp_path / "unet.safetensors"
    write_random_unet_file(file, model_dir=own.base_folder, seed=9)
    over = tmp_path / "over"
    over.mkdir()
    (over / "model.yaml").write_text(
        f"base: {other.base_folder}\nunet: ../{file.name}\n{OF_STUDENTS}", encoding="utf-8"
    )
    model = ModelRepository([over]).resolve("over")
    assert model.time_cond_proj_dim == (32 if embedded else None)

    whole = tmp_path / "whole"
    shutil.copytree(other.base_folder, whole)
    shutil.copy(own.base_folder / "unet" / "config.json", whole / "unet")
    shutil.copy(file, whole / "unet" / "diffusion_pytorch_model.safetensors")
    one = request(1, 4, 3.0, solver="lcm")
    await assert_like_diffusers(model, [one], folder=whole)


async def test_a_lora_distilled_for_consistency_gives_diffusers_pixels(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "", seed=5)
    file = write_random_lora(
        tmp_path / "lcm-lora.safetensors", model_dir=base.base_folder, seed=1, alpha=2.0
    )
    folder = tmp_path / "with-lora"
    folder.mkdir()
    (folder / "model.yaml").write_text(
        f"base: {base.base_folder}\nlora: {file}\n{OF_STUDENTS}", encoding="utf-8"
    )
    fused = StableDiffusionXLPipeline.from_pretrained(
        base.base_folder, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    fused.load_lora_weights(str(file))
    fused.fuse_lora()
    fused.unload_lora_weights()
    fused.save_pretrained(tmp_path / "fused")

    requests = [request(number, 4, 0.0, solver="lcm") for number in range(2)]
    model = ModelRepository([folder]).resolve("with-lora")
    await assert_like_diffusers(model, requests, folder=tmp_path / "fused")


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpmpp_2m_sde"])
async def test_a_loop_that_starts_midway_has_no_step_before(
    base: ResolvedModel, solver: SolverName
) -> None:
    """Its first step is of first order, as after diffusers' `set_begin_index`."""
    one = request(1, 8, 0.0, solver=solver)
    async with loaded(base) as stages:
        whole = stages.denoiser._schedules.get(solver, 8)
        stages.denoiser._schedules._cache[solver, 8] = replace(whole, start=3)
        asked = stages.request(**one)
        latents = latents_of(await events_of(stages.denoiser, asked))

        state = stages.denoiser._request_state(asked, emit=lambda event: None)
        settings = REFERENCES[solver]["scheduler_overrides"]
        scheduler = DPMSolverMultistepScheduler.from_config({**base.scheduler_config, **settings})
        scheduler.set_timesteps(8)
        scheduler.set_begin_index(3)
        expected = state.latents[None]
        with torch.inference_mode():
            for timestep in scheduler.timesteps[3:]:
                runner = stages.denoiser._runner
                output = runner.unet(
                    expected,
                    timestep,
                    encoder_hidden_states=runner.encoder_hidden_states(state.prompt_embeds),
                    added_cond_kwargs={
                        "text_embeds": state.pooled_prompt_embeds,
                        "time_ids": state.add_time_ids[None].float(),
                    },
                ).sample
                expected = scheduler.step(
                    output, timestep, expected, generator=state.generator
                ).prev_sample
    assert np.abs(latents - expected[0].numpy()).max() < 1e-4
