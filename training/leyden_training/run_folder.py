"""A training run on disk: its checkpoint, its curve, and how it is stopped and resumed."""

import csv
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from leyden_training.workers import STOPPING, Workers

__all__ = ["RunFolder", "StopRequest", "has_reached", "read_checkpoint"]

SECONDS_BETWEEN_CHECKPOINTS = 120.0


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a flag, so that a run ends between two iterations."""

    def __init__(self) -> None:
        self.asked = False
        for number in STOPPING:
            signal.signal(number, self._ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # `run_workers` blocks them

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True


def read_checkpoint(run: Path) -> dict[str, Any] | None:
    """Read the last checkpoint of a run, if there is one; tensors stay on disk until used."""
    file = run / "checkpoint.pt"
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return state


def has_reached(run: Path, iterations: int) -> bool:
    """Whether a run's last checkpoint is of so many iterations."""
    checkpoint = read_checkpoint(run)
    return checkpoint is not None and checkpoint["iteration"] >= iterations


class RunFolder:
    """One stage's folder: `checkpoint.pt` and `curve.csv`."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self.folder = folder
        self._workers = workers
        self._saved = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        """The state of the run."""
        return self.folder / "checkpoint.pt"

    @property
    def curve(self) -> Path:
        """Losses by iteration, as CSV."""
        return self.folder / "curve.csv"

    def load(self) -> dict[str, Any] | None:
        """Return the last checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return None
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        return state

    def checkpoint_is_due(self) -> bool:
        """Whether the last one is long ago."""
        return time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint in place of the last, whole or not at all. First worker only."""
        if self._workers.first:
            part = self.checkpoint.with_suffix(".part")
            torch.save(dict(state), part)
            part.replace(self.checkpoint)
        self._saved = time.monotonic()

    def record(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add a row to the curve. First worker only."""
        if not self._workers.first:
            return
        new = not self.curve.exists()
        with self.curve.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["iteration", *values])
            writer.writerow([iteration, *(f"{v:.6g}" for v in values.values())])
