"""Solvers that cannot serve a model or its schedule are refused, with what would."""

from pathlib import Path
from typing import Any

import pytest
from support.model_folders import entry, refused, rewrite_json, rewrite_scheduler


def test_ancestral_steps_of_a_model_that_predicts_samples_are_refused(folder: Path) -> None:
    """diffusers has no such step, so there is nothing to be equal to."""
    entry(folder, "noise_schedule: {solvers: [euler_ancestral], prediction_type: sample}\n")

    refused(folder, "my-sdxl", "euler_ancestral", "sample")


FEW = "num_inference_steps: {default: 4, min: 1, max: 8}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "noise_schedule: {solvers: [dpmpp_2m]}\n" + FEW,
            ["dpmpp_2m is for bases", "num_inference_steps.max is 8, under 10"],
        ),
        (
            "noise_schedule: {solvers: [euler, dpmpp_2m_sde]}\n" + FEW,
            ["dpmpp_2m_sde is for bases", "noise_schedule.solvers"],
        ),
        (
            "noise_schedule: {solvers: [lcm, dpmpp_2m]}\n"
            "num_inference_steps: {default: 4, max: 50}\n",
            ["dpmpp_2m is for bases", "lcm and tcd are for distilled models"],
        ),
        (
            "noise_schedule: {solvers: [lcm]}\nnum_inference_steps: {max: 51}\n",
            ["num_inference_steps.max: at most 50 with lcm", "got 51"],
        ),
        (
            "noise_schedule: {solvers: [tcd]}\nnum_inference_steps: {default: 60}\n",
            ["num_inference_steps.max: at most 50 with tcd"],
        ),
        ("noise_schedule: {eta: 0.5}\n", ["noise_schedule.eta", "tcd alone"]),
        (
            "noise_schedule: {solvers: [euler_ancestral], timesteps: {1: [999]}}\n",
            ["noise_schedule.timesteps", "euler_ancestral"],
        ),
        (
            "noise_schedule: {timesteps: {2: [1000, 499]}}\n",
            ["noise_schedule.timesteps.2: below 1000; got 1000"],
        ),
        (
            "noise_schedule: {timesteps: {9: [9, 8, 7, 6, 5, 4, 3, 2, 1]}}\n" + FEW,
            ["noise_schedule.timesteps: 9 steps are outside of num_inference_steps, 1 to 8"],
        ),
    ],
)
def test_solvers_that_cannot_serve_a_model_are_refused(
    folder: Path, text: str, said: list[str]
) -> None:
    entry(folder, text)

    refused(folder, "my-sdxl", *said)


@pytest.mark.parametrize(
    ("fields", "text", "said"),
    [
        (
            {"_class_name": "DPMSolverMultistepScheduler"},
            FEW,
            ["dpmpp_2m is for bases", "noise_schedule.solvers"],
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"},
            "",
            ["algorithm_type: dpmsolver++ or sde-dpmsolver++", "'dpmsolver'"],
        ),
        (
            {"rescale_betas_zero_snr": True},
            "noise_schedule: {solvers: [lcm]}\n" + FEW,
            ["lcm", "epsilon", "rescale_betas_zero_snr"],
        ),
        (
            {"use_karras_sigmas": True},
            "noise_schedule: {timesteps: {1: [999]}}\n",
            ["noise_schedule.timesteps", "use_karras_sigmas"],
        ),
        (
            {"timestep_type": "continuous"},
            "noise_schedule: {timesteps: {1: [999]}}\n",
            ["noise_schedule.timesteps", "timestep_type continuous"],
        ),
    ],
)
def test_solvers_that_cannot_serve_a_schedule_are_refused(
    folder: Path, fields: dict[str, Any], text: str, said: list[str]
) -> None:
    rewrite_scheduler(folder, **fields)
    entry(folder, text)

    refused(folder, "my-sdxl", *said)


def test_a_unet_distilled_with_guidance_is_no_base(folder: Path) -> None:
    rewrite_json(folder / "unet" / "config.json", time_cond_proj_dim=256)
    entry(folder, "noise_schedule: {solvers: [dpmpp_2m]}\n")

    refused(folder, "my-sdxl", "dpmpp_2m is for bases", "time_cond_proj_dim")
