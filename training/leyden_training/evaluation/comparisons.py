"""The two-sample tests of an evaluation, one file each, so that none is made twice."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leyden_training.evaluation.intervals import Floats
from leyden_training.evaluation.statistics import Description
from leyden_training.evaluation.two_sample import (
    FOLDS,
    PROMPT_RIDGE,
    REPEATS,
    RIDGE,
    SEED,
    answers,
)
from leyden_training.progress import training_progress
from leyden_training.run_folder import StopRequest
from leyden_training.workers import Workers

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two sets of pictures of the same prompts, and where the answers go."""

    file: Path
    first: Description
    second: Description
    known: Floats
    """What is known of each prompt, (N, K)."""

    def missing(self) -> bool:
        """Whether it is not answered yet, or was with other pictures."""
        if not self.file.exists():
            return True
        return bool(json.loads(self.file.read_text())["key"] != self._key())

    def ask(self) -> None:
        """Ask about every fold and write the answers."""
        found = answers(self.first.load(), self.second.load(), self.known)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({"key": self._key(), "logits": found.tolist()}))
        part.replace(self.file)

    def logits(self) -> Floats:
        """Of each prompt's two pictures, (REPEATS, N, 2); above 0 for the second system."""
        return np.array(json.loads(self.file.read_text())["logits"])

    def _key(self) -> str:
        """Of all that the answers depend on."""
        digest = hashlib.sha256(self.known.tobytes())
        for part in (self.first.key, self.second.key, FOLDS, REPEATS, SEED, RIDGE, PROMPT_RIDGE):
            digest.update(str(part).encode())
        return digest.hexdigest()


def compare(workers: Workers, comparisons: Sequence[Comparison]) -> None:
    """Make these tests, each worker its share, until done or told to stop."""
    stop, count = StopRequest(), len(comparisons)
    with training_progress("two-sample tests", count, 0, workers) as progress:
        for done, comparison in enumerate(comparisons[workers.rank :: workers.count], 1):
            comparison.ask()
            progress(min(count, done * workers.count), {})
            if stop.asked:
                return
