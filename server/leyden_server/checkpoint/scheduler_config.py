"""What a scheduler's config may say, for each solver that samples by it.

A solver samples by the fields of the scheduler of diffusers that it is pinned to. A field that it
does not read may stand in the file only where it changes nothing, as published configs have fields
of other schedulers in them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leyden_server.checkpoint.fields import BOOKKEEPING, Field, Fields, one_of, used
from leyden_server.errors import ModelRepositoryError
from leyden_server.sampling import SolverName

__all__ = ["check_scheduler", "solver_of"]

SOLVER_OF: Mapping[str, SolverName] = {
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "LCMScheduler": "lcm",
    "TCDScheduler": "tcd",
}
"""The solver that does what a scheduler class of diffusers does."""

DPM = "DPMSolverMultistepScheduler"
DPM_SOLVER_OF: Mapping[str, SolverName] = {
    "dpmsolver++": "dpmpp_2m",
    "sde-dpmsolver++": "dpmpp_2m_sde",
}
"""The solver that does what DPM does, by its algorithm_type."""

COMMON = {
    "num_train_timesteps": used(int, 1000, least=1),
    "beta_start": used((int, float), 0.0001),
    "beta_end": used((int, float), 0.02),
    "beta_schedule": one_of("linear", "scaled_linear", "squaredcos_cap_v2"),
    "trained_betas": used(list, what="a list of numbers"),
    "prediction_type": one_of("epsilon", "sample", "v_prediction"),
    "timestep_spacing": one_of("linspace", "leading", "trailing"),
    "steps_offset": used(int, 0, least=0),
    "rescale_betas_zero_snr": used(bool, False),
}
SIGMAS = {
    "use_karras_sigmas": used(bool, False),
    "use_exponential_sigmas": used(bool, False),
    # diffusers draws them with scipy, which is not there.
    "use_beta_sigmas": one_of(False, None),
    "final_sigmas_type": one_of("zero"),
}
CONSISTENCY = {
    **COMMON,
    "beta_start": used((int, float), 0.00085),
    "beta_end": used((int, float), 0.012),
    "beta_schedule": one_of("scaled_linear", "linear", "squaredcos_cap_v2"),
    "original_inference_steps": used(int, 50, least=1),
}
DPMPP = {
    **COMMON,
    **SIGMAS,
    "solver_order": one_of(2),
    "solver_type": one_of("midpoint"),
    "use_lu_lambdas": used(bool, False),
    "lambda_min_clipped": used((int, float), -math.inf),
    "variance_type": one_of(None),
    # Neither changes a step of second order that ends in no noise.
    "lower_order_final": used(bool, True),
    "euler_at_final": used(bool, False),
}
FIELDS_OF: Mapping[SolverName, Mapping[str, Field]] = {
    "euler": {
        **COMMON,
        **SIGMAS,
        "interpolation_type": one_of("linear", "log_linear"),
        "sigma_min": used((int, float)),
        "sigma_max": used((int, float)),
        "timestep_type": one_of("discrete", "continuous"),
    },
    "euler_ancestral": {
        **COMMON,
        "prediction_type": one_of("epsilon", "v_prediction"),
    },
    # They pick from original_inference_steps, whatever the spacing.
    "lcm": {**CONSISTENCY, "timestep_scaling": used((int, float), 10.0)},
    "tcd": CONSISTENCY,
    "dpmpp_2m": DPMPP,
    "dpmpp_2m_sde": DPMPP,
}
"""What each solver reads; the defaults are those of its scheduler in diffusers."""

NEUTRAL: Mapping[str, Field] = {
    "use_karras_sigmas": one_of(False, None),
    "use_exponential_sigmas": one_of(False, None),
    "use_beta_sigmas": one_of(False, None),
    "use_lu_lambdas": one_of(False, None),
    "use_flow_sigmas": one_of(False),
    "use_dynamic_shifting": one_of(False),
    "final_sigmas_type": one_of("zero"),
    "interpolation_type": one_of("linear"),
    "sigma_min": one_of(None),
    "sigma_max": one_of(None),
    "timestep_type": one_of("discrete"),
    "clip_sample": one_of(False),
    "thresholding": one_of(False),
    "shift_terminal": one_of(None),
}
"""What a field must be for a solver that does not read it."""

# How schedulers that are not this one take their steps, and bounds of what NEUTRAL turns off.
MEANINGLESS = [
    *BOOKKEEPING,
    "algorithm_type",
    "clip_sample_range",
    "disable_corrector",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "flow_shift",
    "lambda_min_clipped",
    "lower_order_final",
    "original_inference_steps",
    "predict_x0",
    "sample_max_value",
    "set_alpha_to_one",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "time_shift_type",
    "timestep_scaling",
    "variance_type",
]


def check_scheduler(
    config: dict[str, Any], path: Path, solvers: tuple[SolverName, ...]
) -> dict[str, Any]:
    """Return the config that the solvers sample by, complete for the first of them.

    `solvers` are those that `model.yaml` names; where it names none, the class must be one whose
    solver Leyden has.

    Raises:
        ModelRepositoryError: the class or a field is not served; the text names it.

    """
    name = config.get("_class_name")
    if isinstance(name, str) and name.startswith("EDM"):
        raise ModelRepositoryError(
            f"{path}: _class_name: {name}: an EDM model (Playground v2.5 is one), whose noise "
            "schedule and latents are scaled otherwise; Leyden does not serve it"
        )
    for solver in solvers or (solver_of(config, path),):
        known = {**NEUTRAL, **FIELDS_OF[solver]}
        try:
            Fields("a scheduler", known, {*MEANINGLESS} - known.keys()).check(config, path)
        except ModelRepositoryError as error:
            raise ModelRepositoryError(f"{error} (sampling by {solver})") from error
    return config


def solver_of(config: dict[str, Any], path: Path) -> SolverName:
    """Return the solver that does what a scheduler does.

    Raises:
        ModelRepositoryError: none does; the text says which do.

    """
    name = config.get("_class_name")
    if name == DPM:
        algorithm = config.get("algorithm_type", "dpmsolver++")
        if algorithm in DPM_SOLVER_OF:
            return DPM_SOLVER_OF[algorithm]
        raise ModelRepositoryError(
            f"{path}: algorithm_type: {' or '.join(DPM_SOLVER_OF)} is served; got {algorithm!r}"
        )
    if name not in SOLVER_OF:
        raise ModelRepositoryError(
            f"{path}: _class_name: {' or '.join((*SOLVER_OF, DPM))} is served; got {name!r}. "
            "model.yaml may choose noise_schedule.solvers in its place"
        )
    return SOLVER_OF[str(name)]
