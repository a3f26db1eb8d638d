"""Row-wise Euler steps are diffusers' steps, with every row of the batch at its own step."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from leyden_server.denoiser.euler import (
    guide,
    pred_original_sample,
    scale_model_input,
)
from leyden_server.denoiser.noise_schedule import NoiseSchedule, NoiseSchedules
from leyden_server.denoiser.solvers import SOLVERS
from leyden_server.model_repository.entry import PredictionType
from leyden_server.sampling import SolverName

SHAPE = (4, 6, 5)
SDXL: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
SCHEDULERS = {
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
}
STEP_COUNTS = (1, 2, 4, 7, 20)
KINDS: list[tuple[SolverName, PredictionType]] = [
    ("euler", "epsilon"),
    ("euler", "v_prediction"),
    ("euler", "sample"),
    ("euler_ancestral", "epsilon"),
    ("euler_ancestral", "v_prediction"),
]
SPACINGS = ("trailing", "leading", "linspace")


def model(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Stands for a UNet: depends on the sample and the timestep, row by row."""
    phase = timestep.view(-1, *[1] * (sample.dim() - 1)) / 300
    return torch.tanh(1.3 * sample.roll(1, -1) + phase) + 0.2 * torch.cos(phase)


def initial_noise(seed: int) -> tuple[torch.Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, *SHAPE, generator=generator)[0], generator


@dataclass
class Row:
    """One row's own run by diffusers, and ours beside it."""

    schedule: NoiseSchedule
    latents: torch.Tensor
    generator: torch.Generator
    expected: list[torch.Tensor]
    expected_denoised: list[torch.Tensor]
    step_index: int = 0


def diffusers_run(
    config: dict[str, Any], solver: SolverName, steps: int, seed: int
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    scheduler = SCHEDULERS[solver](**config)
    scheduler.set_timesteps(steps)
    noise, generator = initial_noise(seed)
    latents = noise[None] * scheduler.init_noise_sigma
    states, estimates = [], []
    for timestep in scheduler.timesteps:
        output = model(scheduler.scale_model_input(latents, timestep), timestep)
        result = scheduler.step(output, timestep, latents, generator=generator)
        latents = result.prev_sample
        states.append(latents[0])
        estimates.append(result.pred_original_sample[0])
    return states, estimates


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("solver", "kind"), KINDS)
def test_rows_at_different_steps_step_as_diffusers_does(
    solver: SolverName, kind: PredictionType, spacing: str
) -> None:
    config = {**SDXL, "timestep_spacing": spacing, "prediction_type": kind}
    schedules = NoiseSchedules(config)
    rows = []
    for seed, steps in enumerate((*STEP_COUNTS, 20)):
        schedule = schedules.get(solver, steps)
        noise, generator = initial_noise(seed)
        latents = noise * schedule.init_noise_sigma
        rows.append(Row(schedule, latents, generator, *diffusers_run(config, solver, steps, seed)))
    joining = list(rows)
    active: list[Row] = []
    seen_apart = 0
    while joining or active:
        active += [joining.pop(0)] if joining else []  # one row joins at every step
        seen_apart += len({row.step_index for row in active}) > 1
        step_once(active, solver, kind)
        for row in active:
            step = row.step_index - 1
            torch.testing.assert_close(row.latents, row.expected[step], rtol=1e-5, atol=1e-5)
        active = [row for row in active if row.step_index < len(row.schedule.timesteps)]
    assert seen_apart > 10
    assert [row.step_index for row in rows] == [*STEP_COUNTS, 20]


def step_once(rows: list[Row], solver: SolverName, kind: PredictionType) -> None:
    def column(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(values).view(-1, 1, 1, 1)

    latents = torch.stack([row.latents for row in rows])
    sigma = column([row.schedule.sigmas[row.step_index] for row in rows])
    sigma_next = column([row.schedule.sigmas[row.step_index + 1] for row in rows])
    timestep = torch.stack([row.schedule.timesteps[row.step_index] for row in rows])
    output = model(scale_model_input(latents, sigma), timestep)
    denoised = pred_original_sample(latents, output, sigma, kind)

    def noise() -> torch.Tensor:
        return torch.stack([torch.randn(SHAPE, generator=row.generator) for row in rows])

    stepped = SOLVERS[solver].step(latents, denoised, sigma, sigma_next, noise)
    for row, after, estimate in zip(rows, stepped, denoised, strict=True):
        torch.testing.assert_close(
            estimate, row.expected_denoised[row.step_index], rtol=1e-5, atol=1e-5
        )
        row.latents = after
        row.step_index += 1


@pytest.mark.parametrize("solver", ["euler", "euler_ancestral"])
def test_schedules_are_diffusers(solver: SolverName) -> None:
    for spacing in SPACINGS:
        config = {**SDXL, "timestep_spacing": spacing}
        schedules = NoiseSchedules({"_class_name": "DDIMScheduler", **config})
        for steps in (50, 1, 4, 8, 1000, 4):  # the last from the cache, after others
            schedule = schedules.get(solver, steps)
            expected = SCHEDULERS[solver](**config)
            expected.set_timesteps(steps)
            assert torch.equal(schedule.sigmas, expected.sigmas.float())
            assert torch.equal(schedule.timesteps, expected.timesteps.float())
            assert float(schedule.init_noise_sigma) == float(expected.init_noise_sigma)
            assert len(schedule.sigmas) == steps + 1
            assert schedule.sigmas[-1] == 0
            assert schedule.sigmas.dtype == schedule.timesteps.dtype == torch.float32


@pytest.mark.parametrize("steps", [61, 103, 998])
def test_as_many_steps_run_as_are_asked_for_where_diffusers_rounds_to_one_more(steps: int) -> None:
    config = {**SDXL, "timestep_spacing": "trailing"}
    expected = EulerDiscreteScheduler(**config)
    expected.set_timesteps(steps)
    assert len(expected.timesteps) == steps + 1, "diffusers no longer does so"
    schedule = NoiseSchedules(config).get("euler", steps)

    assert torch.equal(schedule.timesteps, expected.timesteps[:steps].float())
    assert torch.equal(schedule.sigmas[:-1], expected.sigmas[:steps].float())
    assert len(schedule.sigmas) == steps + 1
    assert schedule.sigmas[-1] == 0
    assert schedule.timesteps[-1] >= 0


def test_the_lightning_schedule_is_the_published_one() -> None:
    schedule = NoiseSchedules({**SDXL, "timestep_spacing": "trailing"}).get("euler", 4)

    assert schedule.timesteps.tolist() == [999, 749, 499, 249]
    torch.testing.assert_close(
        schedule.sigmas, torch.tensor([14.6146, 4.0817, 1.6129, 0.6932, 0.0]), rtol=0, atol=2e-3
    )
    assert float(schedule.init_noise_sigma) == pytest.approx(14.6146, abs=1e-3)


def test_the_prediction_type_comes_from_the_config() -> None:
    assert NoiseSchedules(SDXL).prediction_type == "epsilon"
    assert NoiseSchedules({**SDXL, "prediction_type": "sample"}).prediction_type == "sample"


def test_guidance_goes_from_the_negative_prompt_past_the_prompt() -> None:
    uncond, cond = torch.full((2, *SHAPE), 1.0), torch.full((2, *SHAPE), 3.0)
    scale = torch.tensor([1.0, 7.5]).view(-1, 1, 1, 1)

    guided = guide(uncond, cond, scale)

    assert torch.equal(guided[0], cond[0])
    assert torch.equal(guided[1], torch.full(SHAPE, 1.0 + 7.5 * 2.0))
