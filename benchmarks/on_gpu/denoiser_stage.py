"""The denoiser in each way of running its UNet, against eager float32 on the same weights."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from benchmarks.on_gpu.comparison import Comparison, compare
from benchmarks.on_gpu.denoising import Images, Steps, TimedRunner, denoise_alone, keep_full
from benchmarks.on_gpu.machine import free_memory, reset_memory
from benchmarks.on_gpu.random_weights import random_unet, resolved
from benchmarks.on_gpu.run import Row, Run, gave_up
from benchmarks.on_gpu.timing import DeviceClock
from leyden_server.config import UNetExecution
from leyden_server.denoiser.noise_schedule import NoiseSchedule, NoiseSchedules
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.errors import ConfigError

__all__ = ["denoiser_rows", "profile_unet"]


@dataclass(frozen=True, slots=True)
class Reference:
    """What eager float32 makes of the images of one size, each alone."""

    images: Images
    latents: dict[int, torch.Tensor]
    """(C, H, W) by seed."""
    other_prompt: float
    """Relative error of the first image had it read another's prompt."""
    other_timesteps: float
    """Relative error of the first image had it read its timesteps the other way round."""

    def compare(self, latents: dict[int, torch.Tensor], tolerance: float) -> Comparison:
        """Compare what denoising moved the images by: their noise is no merit of the UNet."""
        seeds = sorted(latents)
        noise = torch.stack([self.images.initial_latents(seed) for seed in seeds])
        return compare(
            torch.stack([latents[seed] for seed in seeds]) - noise,
            torch.stack([self.latents[seed] for seed in seeds]) - noise,
            tolerance=tolerance,
        )


def denoiser_rows(run: Run, *, profile: list[dict[str, Any]] | None) -> Iterator[Row]:
    """Measure every execution, size and number of rows.

    Into `profile`, where it is a list, go the costliest operators of each execution.
    """
    run.say("denoiser: weights")
    unet = run.thread.run(
        random_unet, run.architecture, rounded_to=run.dtype, device=run.device, seed=run.seed
    )
    schedule = NoiseSchedules(resolved().scheduler_config).get("euler", run.num_inference_steps)
    # Each runner has a UNet of its own, whose modules it replaces.
    exact = run.thread.run(UNetRunner, deepcopy(unet), execution="eager")
    references = {size: _reference(run, exact, size, schedule) for size in run.sizes_px}
    del exact
    free_memory(run.device)
    unet = run.thread.run(unet.to, run.dtype)
    for execution in run.executions:
        try:
            yield from _execution_rows(run, unet, execution, references, profile)
        except ConfigError as error:  # it does not compile here
            run.failures.append(str(error))
            yield {"stage": "denoiser", "execution": execution, "not_measured": str(error)}
        free_memory(run.device)


def _execution_rows(
    run: Run,
    unet: UNet2DConditionModel,
    execution: UNetExecution,
    references: dict[int, Reference],
    profile: list[dict[str, Any]] | None,
) -> Iterator[Row]:
    runner = run.thread.run(
        TimedRunner,
        deepcopy(unet),
        execution=execution,
        float8=run.float8,
        clock=DeviceClock(run.device),
    )
    for size in run.sizes_px:
        yield from _rows(run, runner, execution, size, references[size])
    if profile is not None:
        profile += profile_unet(run, runner, execution)


def _reference(run: Run, runner: UNetRunner, size_px: int, schedule: NoiseSchedule) -> Reference:
    run.say(f"denoiser: reference in float32, {size_px} px")
    images = Images(run.architecture, size_px, torch.float32, schedule)
    backwards = replace(schedule, timesteps=schedule.timesteps.flip(0))
    latents = denoise_alone(run.thread, runner, images, range(max(run.rows)))
    other_prompt = denoise_alone(run.thread, runner, images, [0], prompt_seed=max(run.rows))
    other_timesteps = denoise_alone(run.thread, runner, replace(images, schedule=backwards), [0])
    reference = Reference(images, latents, 0.0, 0.0)
    reference = replace(
        reference,
        other_prompt=reference.compare(other_prompt, run.tolerance).relative,
        other_timesteps=reference.compare(other_timesteps, run.tolerance).relative,
    )
    seen = min(reference.other_prompt, reference.other_timesteps)
    if seen < 2 * run.tolerance:
        run.failures.append(
            f"denoiser, size_px {size_px}: a wrong prompt or timestep would show as {seen:.4f} "
            f"only, which the tolerance of {run.tolerance} would let pass"
        )
    return reference


def _rows(
    run: Run, runner: TimedRunner, execution: UNetExecution, size_px: int, reference: Reference
) -> Iterator[Row]:
    images = replace(reference.images, dtype=run.dtype)
    for rows in run.rows:
        what = {"stage": "denoiser", "execution": execution, "size_px": size_px, "rows": rows}
        run.say(f"denoiser: {execution}, {size_px} px, {rows} rows")
        reset_memory(run.device)
        try:
            steps = keep_full(
                run.thread, runner, images, rows=rows, seeds=max(run.rows), steps=run.measured
            )
        except (MemoryError, torch.OutOfMemoryError) as error:
            row = gave_up(what, error)
        else:
            row = _row(run, what, steps, reference)
        # Not in the except: until its end the error keeps what it ran out over.
        if "not_measured" in row:
            free_memory(run.device)
        yield row


def _row(run: Run, what: dict[str, Any], steps: Steps, reference: Reference) -> Row:
    row = run.row(
        what,
        reference.compare(steps.latents, run.tolerance),
        device_ms=steps.unet_ms,
        wall_ms=steps.step_ms,
        flop=what["rows"] * run.costs.unet_flop[what["size_px"]],
    )
    return row | {
        "images_per_s": steps.images_per_s,
        "warm_up_s": steps.warm_up_s,
        "wrong_prompt_would_show_as": reference.other_prompt,
        "wrong_timestep_would_show_as": reference.other_timesteps,
    }


PROFILED_RUNS = 5
PROFILED_OPERATORS = 15


def profile_unet(run: Run, runner: UNetRunner, execution: UNetExecution) -> list[dict[str, Any]]:
    """Return the operators that a UNet run of the largest size and one row spends most on."""
    side = max(run.sizes_px) // run.architecture.vae_scale_factor
    run.say(f"denoiser: profile of {execution}")
    activities = [torch.profiler.ProfilerActivity.CPU]
    if run.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)

    # In this thread: Kineto, which starts in the first that asks, complains of others. The engine
    # has stopped, and neither compiled code nor a captured graph is bound to a thread.
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(PROFILED_RUNS):
            runner.time_rows(1, side, side)
    on_gpu = run.device.type == "cuda"

    def own_us(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)

    costliest = sorted(profiler.key_averages(), key=own_us, reverse=True)[:PROFILED_OPERATORS]
    return [
        {
            "execution": execution,
            "operator": event.key,
            "ms_a_run": own_us(event) / 1000 / PROFILED_RUNS,
            "calls_a_run": event.count / PROFILED_RUNS,
        }
        for event in costliest
    ]
