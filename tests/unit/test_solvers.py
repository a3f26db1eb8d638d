"""Row-wise steps are diffusers' steps, with every row of the batch at its own step."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import diffusers
import pytest
import torch

from leyden_server.denoiser.guidance import guide
from leyden_server.denoiser.noise_schedule import NoiseSchedule, NoiseSchedules
from leyden_server.denoiser.step_weights import StepWeights
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.entry import PredictionType
from leyden_server.sampling import SolverName

SHAPE = (4, 6, 5)
SDXL: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
SCHEDULERS: dict[SolverName, tuple[Any, dict[str, Any]]] = {
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_ancestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "lcm": (diffusers.LCMScheduler, {}),
    "tcd": (diffusers.TCDScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
}
BY_SIGMAS: tuple[SolverName, ...] = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde")
KINDS: tuple[PredictionType, ...] = ("epsilon", "v_prediction", "sample")
KINDS_OF_SOLVERS = [
    (solver, kind)
    for solver, kind in product(SCHEDULERS, KINDS)
    if (solver, kind) != ("euler_ancestral", "sample")  # diffusers has no such step
]
SPACINGS = ("trailing", "leading", "linspace")
STEP_COUNTS = (1, 2, 3, 4, 7, 14, 15, 20)
"""DPM-Solver++ of diffusers has rules of its own below 15 steps."""
ETA = 0.3
"""Of tcd, so that it draws noise."""
TOLERANCE = 2e-5
"""Of the largest latent: float32's last bits, carried on by up to 100 steps."""


def cases() -> Iterator[Any]:
    """Every solver with every prediction and all that its schedule is read from."""
    for solver, kind in KINDS_OF_SOLVERS:
        for spacing in SPACINGS if solver in BY_SIGMAS else SPACINGS[:1]:
            config = {**SDXL, "timestep_spacing": spacing, "prediction_type": kind}
            yield pytest.param(solver, config, id=f"{solver}-{kind}-{spacing}")
            # diffusers divides by a signal of 0 where LCM and TCD predict epsilon from none.
            if spacing == "trailing" and (solver in BY_SIGMAS or kind != "epsilon"):
                zero_snr = {**config, "rescale_betas_zero_snr": True}
                yield pytest.param(solver, zero_snr, id=f"{solver}-{kind}-zero terminal SNR")


def model(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Stands for a UNet: depends on the sample and the timestep, row by row.

    Where neighbours answer for more than a little, a long loop is chaotic: last bits become all.
    """
    phase = timestep.view(-1, *[1] * (sample.dim() - 1)) / 300
    return torch.tanh(0.8 * sample.roll(1, -1) + phase) + 0.2 * torch.cos(phase)


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
    previous: torch.Tensor | None = None
    step_index: int = 0


def assert_close(actual: torch.Tensor, expected: torch.Tensor, *, at_least: float = 1.0) -> None:
    largest = max(at_least, 1.0, float(expected.abs().max()))
    assert float((actual - expected).abs().max()) <= TOLERANCE * largest


def scheduler_of(solver: SolverName, config: dict[str, Any]) -> Any:
    make, settings = SCHEDULERS[solver]
    return make.from_config({**config, **settings})


def diffusers_run(
    solver: SolverName,
    config: dict[str, Any],
    steps: int,
    seed: int,
    *,
    timesteps: Sequence[int] | None = None,
    eta: float = ETA,
) -> list[torch.Tensor]:
    """Return the latents after each step, of a loop as `StableDiffusionXLPipeline` runs it."""
    scheduler = scheduler_of(solver, config)
    if timesteps is None:
        scheduler.set_timesteps(steps)
    else:
        scheduler.set_timesteps(timesteps=list(timesteps))
    scheduler.set_begin_index(0)
    noise, generator = initial_noise(seed)
    latents = noise[None] * scheduler.init_noise_sigma
    extra = {"eta": eta} if solver == "tcd" else {}
    states = []
    for timestep in scheduler.timesteps:
        output = model(scheduler.scale_model_input(latents, timestep), timestep.float())
        result = scheduler.step(output, timestep, latents, generator=generator, **extra)
        latents = result.prev_sample
        states.append(latents[0])
    return states


def start(schedules: NoiseSchedules, solver: SolverName, steps: int, seed: int) -> Row:
    """Return a row that diffusers has not run yet."""
    schedule = schedules.get(solver, steps)
    noise, generator = initial_noise(seed)
    return Row(schedule, noise * schedule.init_noise_sigma, generator, [])


def step_once(rows: list[Row]) -> None:
    latents = torch.stack([row.latents for row in rows])
    table = torch.stack([row.schedule.weights[row.step_index] for row in rows])
    w = StepWeights.of_rows(table)
    timestep = torch.stack([row.schedule.timesteps[row.step_index] for row in rows])
    output = model(w.input * latents, timestep)
    denoised = w.estimate_latents * latents + w.estimate_output * output
    zeros = torch.zeros(SHAPE)
    previous = torch.stack([zeros if row.previous is None else row.previous for row in rows])
    noise = torch.stack(
        [
            torch.randn(SHAPE, generator=row.generator) if StepWeights(*factors).noise else zeros
            for row, factors in zip(rows, table, strict=True)
        ]
    )
    stepped = w.latents * latents + w.denoised * denoised + w.previous * previous + w.noise * noise
    for row, after, estimate in zip(rows, stepped, denoised, strict=True):
        row.latents, row.previous = after, estimate
        row.step_index += 1


def run_alone(row: Row) -> torch.Tensor:
    while row.step_index < len(row.schedule.timesteps):
        step_once([row])
    return row.latents


@pytest.mark.parametrize(("solver", "config"), [*cases()])
def test_rows_at_different_steps_step_as_diffusers_does(
    solver: SolverName, config: dict[str, Any]
) -> None:
    schedules = NoiseSchedules(config, eta=ETA)
    joining = [start(schedules, solver, steps, seed) for seed, steps in enumerate(STEP_COUNTS)]
    for seed, row in enumerate(joining):
        row.expected = diffusers_run(solver, config, len(row.schedule.timesteps), seed)
    rows, seen_apart = list(joining), 0
    active: list[Row] = []
    while joining or active:
        active += [joining.pop(0)] if joining else []  # one row joins at every step
        seen_apart += len({row.step_index for row in active}) > 1
        step_once(active)
        for row in active:
            # At zero terminal SNR Euler's latents begin at 15,000 and step to 10: in float32 of
            # diffusers, which adds the two, what is left counts in thousandths.
            before = float(row.schedule.init_noise_sigma) / 40
            assert_close(row.latents, row.expected[row.step_index - 1], at_least=before)
        active = [row for row in active if row.step_index < len(row.schedule.timesteps)]
    assert seen_apart > 10
    assert [row.step_index for row in rows] == [*STEP_COUNTS]


@pytest.mark.parametrize(("solver", "kind"), KINDS_OF_SOLVERS)
def test_a_model_that_is_right_is_read_right(solver: SolverName, kind: PredictionType) -> None:
    """From latents of an image and its noise: what the UNet reads, and what its output says."""
    schedule = NoiseSchedules({**SDXL, "prediction_type": kind}).get(solver, 7)
    w = StepWeights.of_rows(schedule.weights)
    sigma = schedule.sigmas[:-1].view(-1, 1, 1, 1)
    signal, deviation = (sigma**2 + 1) ** -0.5, sigma * (sigma**2 + 1) ** -0.5
    image, noise = torch.randn(2, 7, *SHAPE, generator=torch.Generator().manual_seed(1))
    read = signal * image + deviation * noise
    latents = read / w.input
    output = {"epsilon": noise, "v_prediction": signal * noise - deviation * image, "sample": image}

    torch.testing.assert_close(
        w.estimate_latents * latents + w.estimate_output * output[kind], image, rtol=0, atol=2e-5
    )
    first = float(latents[0].std()) / float(schedule.init_noise_sigma)
    assert first == pytest.approx(1, abs=0.15), "latents of another scale than the initial ones"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.77, 1.0])
def test_eta_is_diffusers(share: float) -> None:
    for steps in (1, 2, 4, 8, 50):
        expected = diffusers_run("tcd", SDXL, steps, 7, eta=share)[-1]
        row = start(NoiseSchedules(SDXL, eta=share), "tcd", steps, 7)
        assert_close(run_alone(row), expected)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_without_noise_tcd_on_trailing_timesteps_is_ddim(steps: int) -> None:
    """As SDXL's config has it: nothing is clipped, and the last step ends at timestep 0."""
    trailing = tuple(range(999, -1, -1000 // steps))
    settings = {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": False}
    ddim = diffusers.DDIMScheduler.from_config({**SDXL, **settings})
    ddim.set_timesteps(steps)
    assert ddim.timesteps.tolist() == [*trailing]
    latents, _ = initial_noise(3)
    for timestep in ddim.timesteps:
        latents = ddim.step(model(latents, timestep), timestep, latents).prev_sample

    row = start(NoiseSchedules(SDXL, {steps: trailing}), "tcd", steps, 3)
    assert_close(run_alone(row), latents)


@pytest.mark.parametrize("solver", sorted(SCHEDULERS.keys() - {"euler_ancestral"}))
def test_timesteps_of_ones_own_are_diffusers(solver: SolverName) -> None:
    own = {1: (399,), 4: (999, 749, 499, 249), 5: (980, 500, 240, 119, 0)}
    schedules = NoiseSchedules(SDXL, own, ETA)
    for steps, timesteps in own.items():
        row = start(schedules, solver, steps, 3)
        assert row.schedule.timesteps.tolist() == [*timesteps]
        expected = diffusers_run(solver, SDXL, steps, 3, timesteps=timesteps)
        assert_close(run_alone(row), expected[-1])
    other = NoiseSchedules(SDXL).get(solver, 2).timesteps
    assert torch.equal(schedules.get(solver, 2).timesteps, other)


@pytest.mark.parametrize(
    ("solver", "sigmas"),
    [
        ("euler", "use_karras_sigmas"),
        ("euler", "use_exponential_sigmas"),
        *product(
            ("dpmpp_2m", "dpmpp_2m_sde"),
            ("use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas"),
        ),
    ],
)
def test_sigmas_of_another_spread_are_diffusers(solver: SolverName, sigmas: str) -> None:
    config = {**SDXL, sigmas: True}
    for steps in (1, 2, 4, 14, 20, 61):
        expected = diffusers_run(solver, config, steps, 5)
        row = start(NoiseSchedules(config), solver, steps, 5)
        assert len(expected) == steps
        assert_close(run_alone(row), expected[-1])


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpmpp_2m_sde"])
@pytest.mark.parametrize(
    "config",
    [
        {"lower_order_final": False},
        {"euler_at_final": True},
        {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
        {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1},
    ],
    ids=lambda config: (
        next(iter(config)) if "beta_schedule" not in config else config["beta_schedule"]
    ),
)
def test_what_else_a_config_of_dpm_solver_says_is_diffusers(
    solver: SolverName, config: dict[str, Any]
) -> None:
    for steps in (3, 10, 20):
        expected = diffusers_run(solver, {**SDXL, **config}, steps, 5)
        row = start(NoiseSchedules({**SDXL, **config}), solver, steps, 5)
        assert_close(run_alone(row), expected[-1])


@pytest.mark.parametrize("solver", ["lcm", "tcd"])
def test_what_else_a_config_of_a_consistency_model_says_is_diffusers(solver: SolverName) -> None:
    config = {
        "original_inference_steps": 100,
        "timestep_scaling": 3.0,
        "set_alpha_to_one": False,
        "beta_schedule": "linear",
        "beta_end": 0.02,
    }
    for steps in (1, 3, 100):
        expected = diffusers_run(solver, config, steps, 5)
        row = start(NoiseSchedules(config, eta=ETA), solver, steps, 5)
        assert_close(run_alone(row), expected[-1])


@pytest.mark.parametrize("solver", SCHEDULERS)
def test_schedules_are_diffusers(solver: SolverName) -> None:
    for spacing in SPACINGS:
        config = {**SDXL, "timestep_spacing": spacing}
        schedules = NoiseSchedules({"_class_name": "DDIMScheduler", **config})
        for steps in (50, 1, 4, 8, 4):  # the last from the cache, after others
            schedule = schedules.get(solver, steps)
            expected = scheduler_of(solver, config)
            expected.set_timesteps(steps)
            assert torch.equal(schedule.timesteps, expected.timesteps.float())
            assert float(schedule.init_noise_sigma) == float(expected.init_noise_sigma)
            assert len(schedule.sigmas) == steps + 1
            assert schedule.sigmas[-1] == 0
            assert schedule.weights.shape == (steps, len(StepWeights._fields))
            for tensor in (schedule.sigmas, schedule.timesteps, schedule.weights):
                assert tensor.dtype == torch.float32
            if solver in BY_SIGMAS:
                assert torch.equal(schedule.sigmas, expected.sigmas.float())
            else:
                alpha = expected.alphas_cumprod[expected.timesteps]
                torch.testing.assert_close(schedule.sigmas[:-1], ((1 - alpha) / alpha) ** 0.5)


@pytest.mark.parametrize("solver", BY_SIGMAS)
@pytest.mark.parametrize("steps", [61, 103, 998])
def test_as_many_steps_run_as_are_asked_for_where_diffusers_rounds_to_one_more(
    solver: SolverName, steps: int
) -> None:
    config = {**SDXL, "timestep_spacing": "trailing"}
    rounded = scheduler_of(solver, config)
    rounded.set_timesteps(steps)
    assert len(rounded.timesteps) == steps + 1, "diffusers no longer does so"
    schedule = NoiseSchedules(config).get(solver, steps)

    assert torch.equal(schedule.timesteps, rounded.timesteps[:steps].float())
    assert torch.equal(schedule.sigmas[:-1], rounded.sigmas[:steps].float())
    assert len(schedule.sigmas) == steps + 1
    assert schedule.sigmas[-1] == 0
    assert schedule.timesteps[-1] >= 0


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m", "dpmpp_2m_sde"])
def test_61_trailing_steps_are_diffusers_loop_on_the_first_61_timesteps(solver: SolverName) -> None:
    config = {**SDXL, "timestep_spacing": "trailing"}
    row = start(NoiseSchedules(config), solver, 61, 5)
    timesteps = [int(timestep) for timestep in row.schedule.timesteps]
    expected = diffusers_run(solver, config, 61, 5, timesteps=timesteps)
    assert_close(run_alone(row), expected[-1])


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpmpp_2m_sde"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_steps_between_equal_sigmas_stand_still(solver: SolverName, spacing: str) -> None:
    """diffusers divides by their distance: its latents are no numbers."""
    schedule = NoiseSchedules({**SDXL, "timestep_spacing": spacing}).get(solver, 1000)

    assert bool(schedule.weights.isfinite().all())
    weights = StepWeights(*schedule.weights.unbind(1))
    still = schedule.sigmas[:-1] == schedule.sigmas[1:]
    assert bool(still.any()) == (spacing != "trailing")
    assert bool((weights.latents[still] == 1).all())
    for factor in (weights.denoised, weights.previous, weights.noise):
        assert bool((factor[still] == 0).all())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"original_inference_steps": 2000}, "lcm has no schedule of 4 steps: .*2000"),
        ({"original_inference_steps": 3}, "lcm has no schedule of 4 steps: .*3"),
        ({"beta_schedule": "sigmoid"}, "euler has no schedule of 4 steps: .*sigmoid"),
    ],
)
def test_a_config_that_gives_no_schedule_is_told_at_load(config: dict[str, Any], said: str) -> None:
    NoiseSchedules(SDXL, {2: (999, 499)}).check(SCHEDULERS.keys() - {"euler_ancestral"}, {4, 50})

    with pytest.raises(ModelRepositoryError, match=said):
        NoiseSchedules({**SDXL, **config}).check(["euler", "lcm"], {4})


def test_the_lightning_schedule_is_the_published_one() -> None:
    schedule = NoiseSchedules({**SDXL, "timestep_spacing": "trailing"}).get("euler", 4)

    assert schedule.timesteps.tolist() == [999, 749, 499, 249]
    torch.testing.assert_close(
        schedule.sigmas, torch.tensor([14.6146, 4.0817, 1.6129, 0.6932, 0.0]), rtol=0, atol=2e-3
    )
    assert float(schedule.init_noise_sigma) == pytest.approx(14.6146, abs=1e-3)


def test_a_level_without_signal_is_told_as_the_other_solvers_have_it() -> None:
    zero_snr = {**SDXL, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    for solver in SCHEDULERS:
        schedule = NoiseSchedules({**zero_snr, "timestep_spacing": "trailing"}).get(solver, 4)
        assert float(schedule.sigmas[0]) == pytest.approx(math.sqrt(2**24 - 1))


def test_guidance_goes_from_the_negative_prompt_past_the_prompt() -> None:
    uncond, cond = torch.full((2, *SHAPE), 1.0), torch.full((2, *SHAPE), 3.0)
    scale = torch.tensor([1.0, 7.5]).view(-1, 1, 1, 1)

    guided = guide(uncond, cond, scale)

    assert torch.equal(guided[0], cond[0])
    assert torch.equal(guided[1], torch.full(SHAPE, 1.0 + 7.5 * 2.0))
