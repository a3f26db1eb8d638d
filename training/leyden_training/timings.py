"""`timings.json` of a folder: what it was made with, and how long each stage took on what."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from leyden_training.evaluation.conditions import device_name
from leyden_training.precision import fast_dtype
from leyden_training.workers import worker_count

__all__ = ["Timings"]


class Timings:
    """The file: {"settings": …, "stages": {name: {"seconds": …, "sessions": […]}}}.

    A stage that was stopped has a session for each time that it went on, and `seconds` is
    their sum. The time of a process that was killed is not in it.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "timings.json"

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write the settings of the whole, or check that they are those it was begun with.

        Raises:
            ValueError: they are others.

        """
        contents = self._read()
        begun = contents.setdefault("settings", dict(settings))
        for name, value in settings.items():
            if begun.get(name) != value:
                raise ValueError(
                    f"{name}: {self.file.parent} was begun with {begun.get(name)}, not {value}: "
                    "go on with that, or choose another folder"
                )
        self._write(contents)

    @contextmanager
    def measured(self, stage: str, workers: int | None) -> Iterator[None]:
        """Add the wall time of what is inside to a stage, however it ends."""
        began, started = time.strftime("%Y-%m-%dT%H:%M:%S%z"), time.perf_counter()
        try:
            yield
        finally:
            session = {
                "began": began,
                "seconds": round(time.perf_counter() - started, 2),
                **conditions(workers),
            }
            contents = self._read()
            entry = contents["stages"].setdefault(stage, {"seconds": 0.0, "sessions": []})
            entry["sessions"].append(session)
            entry["seconds"] = round(sum(s["seconds"] for s in entry["sessions"]), 2)
            self._write(contents)

    def _read(self) -> dict[str, Any]:
        if not self.file.exists():
            return {"stages": {}}
        contents: dict[str, Any] = json.loads(self.file.read_text())
        return contents

    def _write(self, contents: Mapping[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(contents, indent=1) + "\n")
        part.replace(self.file)


def conditions(workers: int | None) -> dict[str, object]:
    """Describe what training runs on, given the number of workers asked for."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "workers": worker_count(workers),
        "dtype": str(fast_dtype(device)).removeprefix("torch."),
        "torch": torch.__version__,
        "load_average": round(os.getloadavg()[0], 2),
    }
