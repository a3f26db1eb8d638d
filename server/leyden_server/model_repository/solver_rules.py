"""Which solvers a model may have: by its schedule, by its steps, and by what diffusers has."""

from collections.abc import Mapping
from typing import Any

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.entry import NoiseScheduleOverrides, StepRange
from leyden_server.sampling import SolverName

__all__ = ["FEWEST_STEPS_OF_BASES", "check_solvers", "steps_served"]

CONSISTENCY_SOLVERS: frozenset[SolverName] = frozenset({"lcm", "tcd"})
BASE_SOLVERS: frozenset[SolverName] = frozenset({"dpmpp_2m", "dpmpp_2m_sde"})
SIGMAS_OF_THEIR_OWN = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
FEWEST_STEPS_OF_BASES = 10
"""A model that takes no more steps than this less one was distilled to few; a base was not."""
ORIGINAL_INFERENCE_STEPS = 50
"""diffusers' own, where a config has none."""


def steps_served(
    steps: StepRange, scheduler: Mapping[str, Any], solvers: tuple[SolverName, ...]
) -> StepRange:
    """Return the range of steps; a most that `model.yaml` does not name is no more than there are.

    Raises:
        ModelRepositoryError: the range goes past what a solver has timesteps for.

    """
    consistency = [solver for solver in solvers if solver in CONSISTENCY_SOLVERS]
    most = scheduler.get("original_inference_steps") or ORIGINAL_INFERENCE_STEPS
    if not consistency or steps.max <= most:
        return steps
    if "max" not in steps.model_fields_set and steps.default <= most:
        return steps.model_copy(update={"max": most})
    raise ModelRepositoryError(
        f"num_inference_steps.max: at most {most} with {consistency[0]}, which picks its timesteps "
        f"from so many (original_inference_steps); got {steps.max}"
    )


def check_solvers(
    entry: NoiseScheduleOverrides,
    steps: StepRange,
    scheduler: Mapping[str, Any],
    solvers: tuple[SolverName, ...],
    *,
    guidance_is_embedded: bool,
) -> None:
    """Hold the solvers of a model to its schedule and steps.

    Raises:
        ModelRepositoryError: a solver cannot serve it; the text names both sides.

    """
    predicts = scheduler.get("prediction_type", "epsilon")
    for solver in solvers:
        if solver in BASE_SOLVERS:
            _check_base(solver, steps, solvers, guidance_is_embedded=guidance_is_embedded)
        if solver in CONSISTENCY_SOLVERS and predicts == "epsilon":
            _check_terminal_snr(solver, scheduler)
    if entry.eta is not None and "tcd" not in solvers:
        raise ModelRepositoryError("noise_schedule.eta: is for the solver tcd alone")
    if entry.timesteps:
        _check_timesteps(entry.timesteps, steps, scheduler, solvers)


def _check_base(
    solver: SolverName,
    steps: StepRange,
    solvers: tuple[SolverName, ...],
    *,
    guidance_is_embedded: bool,
) -> None:
    """Keep DPM-Solver++, which goes by the step before, from what was distilled to few steps."""
    why = ""
    if steps.max < FEWEST_STEPS_OF_BASES:
        why = f"num_inference_steps.max is {steps.max}, under {FEWEST_STEPS_OF_BASES}"
    elif CONSISTENCY_SOLVERS & {*solvers}:
        why = "lcm and tcd are for distilled models"
    elif guidance_is_embedded:
        why = "its UNet was distilled with guidance (time_cond_proj_dim)"
    if why:
        raise ModelRepositoryError(
            f"{solver} is for bases, and this is a few-step model: {why}. Name the solver that it "
            "was distilled for in noise_schedule.solvers"
        )


def _check_terminal_snr(solver: SolverName, scheduler: Mapping[str, Any]) -> None:
    if scheduler.get("rescale_betas_zero_snr"):
        raise ModelRepositoryError(
            f"{solver} has no step for prediction_type epsilon with rescale_betas_zero_snr: its "
            "first latents are noise alone, and dividing by a signal of 0 gives no image"
        )


def _check_timesteps(
    timesteps: Mapping[int, tuple[int, ...]],
    steps: StepRange,
    scheduler: Mapping[str, Any],
    solvers: tuple[SolverName, ...],
) -> None:
    key, trained = "noise_schedule.timesteps", int(scheduler.get("num_train_timesteps", 1000))
    for count, of_count in timesteps.items():
        if not steps.min <= count <= steps.max:
            raise ModelRepositoryError(
                f"{key}: {count} steps are outside of num_inference_steps, {steps.min} to "
                f"{steps.max}"
            )
        if of_count[0] >= trained:
            raise ModelRepositoryError(f"{key}.{count}: below {trained}; got {of_count[0]}")
    if "euler_ancestral" in solvers:
        raise ModelRepositoryError(f"{key}: euler_ancestral takes none in diffusers")
    if "euler" in solvers and scheduler.get("timestep_type") == "continuous":
        raise ModelRepositoryError(
            f"{key}: cannot go with the scheduler's timestep_type continuous"
        )
    of_their_own = [name for name in SIGMAS_OF_THEIR_OWN if scheduler.get(name)]
    if of_their_own and not CONSISTENCY_SOLVERS.issuperset(solvers):
        raise ModelRepositoryError(f"{key}: cannot go with the scheduler's {of_their_own[0]}")
