"""Who takes part, and with which settings."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "CACHE",
    "CONTESTANTS",
    "CORES",
    "IN_PROCESS",
    "IN_VENV",
    "Contestant",
    "Model",
    "Settings",
]

IN_VENV = Path(__file__).parent / "in_venv"
"""What runs in the peers' venvs."""

CACHE = Path(__file__).parents[2] / ".bench"
"""Kept between runs, ignored by git: venvs, logs, models, configs."""

CORES = len(os.sched_getaffinity(0))

Settings = dict[str, int | float | str]
"""What a server is started with, by the names of `in_venv/*_server.py`."""


@dataclass(frozen=True, slots=True)
class Model:
    """A diffusers folder, by a name."""

    name: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A server, and how it may be set up on `CORES` cores."""

    name: str
    command: Callable[[str, Model, int, Settings], list[str]]
    """From the venv's python, the model, the port and the settings to the command line."""
    settings: dict[str, Settings] = field(default_factory=lambda: {"as shipped": {}})
    """Each way to set it up, the best known one first; `threads` go to torch."""
    best_for: dict[str, str] = field(default_factory=dict)
    """Name of a model to the settings that are better for it than the first."""
    requirements: Path | None = None
    """What its venv has; None: it runs in this one."""
    base_python: str = sys.executable
    """The python that makes its venv."""

    def setting_for(self, model: Model) -> str:
        """Return the name of the best known settings for a model."""
        return self.best_for.get(model.name, next(iter(self.settings)))


def _leyden(python: str, model: Model, port: int, settings: Settings) -> list[str]:
    # A link has the model's name, and what it leads to another: Leyden sees it from above.
    folder = model.folder.parent if model.folder.is_symlink() else model.folder
    repository = ["--model-repository", str(folder)]
    return [
        *(python, "-m", "leyden_cli", "serve", "--port", str(port), "--model", model.name),
        *("--metrics-port", "0"),
        *([] if _is_shipped(model) else repository),
        *_leyden_options(settings),
    ]


def _leyden_options(settings: Settings) -> list[str]:
    """Return options: whether in one process, and a config of the rest."""
    options = ["--in-process"] if IN_PROCESS.items() <= settings.items() else []
    rest = {name: value for name, value in settings.items() if name not in IN_PROCESS}
    return [*options, *(["--config", str(_leyden_config(rest))] if rest else [])]


def _leyden_config(settings: Settings) -> Path:
    """Write a config: so many replicas of each stage that is named, threads of all stages."""
    stages: dict[str, Settings] = {stage: {} for stage in STAGES}
    for name, value in settings.items():
        if name in STAGES:
            stages[name] |= {"min_replicas": value, "max_replicas": value}
        else:
            for of_stage in stages.values():
                of_stage[name] = value
    file = CACHE / "configs" / f"{'-'.join(f'{n}-{name}' for name, n in settings.items())}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(stages) + "\n", encoding="utf-8")  # which is YAML too
    return file


def _is_shipped(model: Model) -> bool:
    from leyden_server.model_repository.repository import SHIPPED_MODELS  # noqa: PLC0415

    return model.folder.parent == SHIPPED_MODELS


def _script(name: str) -> Callable[[str, Model, int, Settings], list[str]]:
    return lambda python, _model, _port, _settings: [python, str(IN_VENV / name)]


def _bentoml(python: str, _model: Model, port: int, _settings: Settings) -> list[str]:
    return [
        *(python, "-m", "bentoml", "serve", "bentoml_server:Images"),
        *("--working-dir", str(IN_VENV), "--host", "127.0.0.1", "--port", str(port)),
    ]


def _ways(name: str, batches: tuple[int, ...], **others: int | float) -> dict[str, Settings]:
    """Spell out: a process a core or all cores in one, each with each batch size."""
    return {
        f"{count} {name} x {CORES // count} threads, batch {batch}": {
            name: count,
            "threads": CORES // count,
            "max_batch_size": batch,
            **others,
        }
        for batch in batches
        for count in sorted({1, CORES}, reverse=True)
    }


IN_PROCESS: Settings = {"in_process": 1}
ALL_CORES: Settings = {"torch_threads": 0}
"""For a stage that works alone, in one process."""
STAGES = ("text_encoder", "denoiser", "vae")
A_STAGE_A_CORE = f"{CORES} Denoisers, {CORES} Vaes"
ALONE = "in process, all cores where alone"
DENOISERS_ALONE = f"in process, {CORES} Denoisers, all cores where alone"

CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            name="leyden",
            command=_leyden,
            settings={
                "as shipped": {},
                "in process": IN_PROCESS,
                ALONE: IN_PROCESS | ALL_CORES,
                f"in process, {CORES} Denoisers": IN_PROCESS | {"denoiser": CORES},
                DENOISERS_ALONE: IN_PROCESS | ALL_CORES | {"denoiser": CORES},
                f"{CORES} Vaes": {"vae": CORES},
                f"{CORES} Denoisers": {"denoiser": CORES},
                A_STAGE_A_CORE: {"denoiser": CORES, "vae": CORES},
            },
            best_for={
                # As docs/scaling.md advises for one small machine.
                "leyden-tiny-lightning-4step": ALONE,
                "random-second": DENOISERS_ALONE,
            },
        ),
        Contestant(
            name="bare_grpc",
            command=_script("bare_grpc_server.py"),
            requirements=IN_VENV / "bare_grpc.txt",
            settings={
                f"{count} pipelines x {CORES // count} threads": {
                    "pipelines": count,
                    "threads": CORES // count,
                }
                for count in sorted({1, CORES}, reverse=True)
            },
        ),
        Contestant(
            name="litserve",
            command=_script("litserve_server.py"),
            requirements=IN_VENV / "litserve.txt",
            settings=_ways("workers", (8, 16, 1), batch_timeout=0.01),
        ),
        Contestant(
            name="bentoml",
            command=_bentoml,
            requirements=IN_VENV / "bentoml.txt",
            settings=_ways("workers", (8, 16)),
        ),
        Contestant(
            name="pytriton",
            command=_script("pytriton_server.py"),
            requirements=IN_VENV / "pytriton.txt",
            # Triton's python backend looks for a shared libpython, which the system's has.
            base_python="/usr/bin/python3",
            settings=_ways("instances", (8, 16), max_queue_delay_microseconds=0),
        ),
    )
}
