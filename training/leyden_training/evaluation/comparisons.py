"""The two-sample tests of an evaluation: one file for each fold, so that none is asked twice."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from leyden_training.evaluation.classifier import load_classifier
from leyden_training.evaluation.intervals import Floats
from leyden_training.evaluation.pictures import PictureSet
from leyden_training.evaluation.two_sample import FOLDS, TwoSampleSettings, tell_apart
from leyden_training.progress import training_progress
from leyden_training.run_folder import StopRequest
from leyden_training.workers import Workers

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Two sets of pictures of the same prompts, and where the answers go."""

    folder: Path
    first: PictureSet
    second: PictureSet
    count: int
    """Pictures of each set."""

    classifier: Path
    """Run folder of the attribute classifier."""

    settings: TwoSampleSettings

    def missing(self) -> list[int]:
        """Return the folds that are not answered yet, or were with other pictures."""
        key = self._key()
        return [fold for fold in range(FOLDS) if self._answers(fold).get("key") != key]

    def ask(self, fold: int, device: torch.device) -> None:
        """Train on the other folds, ask about this one, and write the answers."""
        prompts, logits = tell_apart(
            self.first.load(self.count),
            self.second.load(self.count),
            fold,
            load_classifier(self.classifier, device),
            self.settings,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._file(fold).with_suffix(".part")
        answers = {"key": self._key(), "prompts": prompts.tolist(), "logits": logits.tolist()}
        part.write_text(json.dumps(answers))
        part.replace(self._file(fold))

    def logits(self) -> Floats:
        """Of each prompt's two pictures, (N, 2); above 0 for the second system."""
        found = np.empty((self.count, 2))
        for fold in range(FOLDS):
            answers = json.loads(self._file(fold).read_text())
            found[answers["prompts"]] = answers["logits"]
        return found

    def _file(self, fold: int) -> Path:
        return self.folder / f"{fold}.json"

    def _answers(self, fold: int) -> dict[str, object]:
        file = self._file(fold)
        found: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def _key(self) -> str:
        """Of all that the answers depend on."""
        digest = hashlib.sha256((self.classifier / "classifier.pt").read_bytes())
        for picture_set in (self.first, self.second):
            digest.update((picture_set.folder / "set.json").read_bytes())
        digest.update(json.dumps([self.count, asdict(self.settings)]).encode())
        return digest.hexdigest()


def compare(workers: Workers, comparisons: Sequence[Comparison]) -> None:
    """Ask every fold that is missing, each worker its share, until done or told to stop."""
    stop = StopRequest()
    jobs = [(c, fold) for c in comparisons for fold in c.missing()]
    mine = jobs[workers.rank :: workers.count]
    with training_progress("folds of two-sample tests", len(jobs), 0, workers) as progress:
        for done, (comparison, fold) in enumerate(mine, 1):
            comparison.ask(fold, workers.device)
            progress(min(len(jobs), done * workers.count), {})
            if stop.asked:
                return
