"""One client over stock diffusers in this process, request by request in turns.

With `--before` the other commit's server takes its turn too, so that what it is over diffusers was
measured in the same minutes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import torch

from benchmarks.conditions import REPOSITORY
from benchmarks.in_process import Pipeline
from benchmarks.load import Loader
from benchmarks.one_second_model import one_second_model
from benchmarks.paired import in_turns, ratio_of
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from leyden_client.bench import Workload
from leyden_server.config import DEFAULT_MODEL, ServerConfig
from leyden_server.model_repository import ModelRepository, ResolvedModel

__all__ = ["measure"]

ASKED = {"embedded": 1.04, "one second": 1.00}
STEPS = 4
WARM_UP = 3


def measure(settings: Settings) -> Section:
    """Measure both models."""
    torch.set_num_threads(ServerConfig().denoiser.torch_threads)
    checkouts = {"served": REPOSITORY}
    if settings.before is not None:
        checkouts["before"] = settings.before
    with one_second_model(quick=settings.quick) as slow, ExitStack() as stack:
        models = {"embedded": ModelRepository().resolve(DEFAULT_MODEL), "one second": slow}
        names = [model.name for model in models.values()]
        addresses = {}
        for name, checkout in checkouts.items():
            settings.say(f"house_client: starting {name}")
            server = ServerProcess.leyden(*names, repository=slow.base_folder, checkout=checkout)
            addresses[name] = stack.enter_context(server).address
        data = {name: _contest(settings, name, model, addresses) for name, model in models.items()}
    return Section(
        conditions={
            "servers": "`leyden serve` over Ray, default config, both models; one client",
            "in process": "StableDiffusionXLPipeline, float32, as many torch threads, PNG by the "
            "server's encoder",
            "requests": f"{STEPS} steps, guidance off, native size, a new prompt each",
        },
        figures=[figure for name, one in data.items() for figure in _figures(name, one)],
        data=data,
    )


def _contest(
    settings: Settings, name: str, model: ResolvedModel, addresses: dict[str, str]
) -> dict[str, list[float]]:
    settings.say(f"house_client, {name}: {settings.pairs} rounds")
    pipeline = Pipeline(model)
    prompts = (prompt for prompt, _ in Workload(seed=1).requests())
    with ExitStack() as stack:
        contestants: dict[str, Callable[[], float]] = {}
        for server, address in addresses.items():
            loader = Loader(address, Workload(model=model.name, steps=(STEPS,)))
            contestants[server] = _latency_by(stack.enter_context(loader))
        contestants["diffusers"] = _latency_of(pipeline, prompts)
        in_turns(contestants, settings.pick(WARM_UP, 1))
        return in_turns(contestants, settings.pairs)


def _latency_by(loader: Loader) -> Callable[[], float]:
    return lambda: loader.closed(1, 1)[0].latency_s


def _latency_of(pipeline: Pipeline, prompts: Iterator[str]) -> Callable[[], float]:
    return lambda: pipeline.timed(next(prompts), 0, steps=STEPS)


def _figures(name: str, seconds: dict[str, list[float]]) -> Iterator[Figure]:
    over = ratio_of(seconds["served"], seconds["diffusers"])
    yield Figure(
        name=f"One client over diffusers, {name} model",
        asked=f"<= {ASKED[name]:.2f} x",
        measured=over.shown(),
        met=over.median <= ASKED[name],
    )
    if "before" in seconds:
        was = ratio_of(seconds["before"], seconds["diffusers"])
        change = ratio_of(seconds["served"], seconds["before"])
        yield Figure(
            name=f"The same before, {name} model",
            asked="",
            measured=f"{was.shown()} over diffusers; now {change.shown()} of it",
        )
