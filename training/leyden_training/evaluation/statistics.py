"""What a picture is told by in the two-sample test: some thousand statistics of it.

Three kinds. Means and spreads of every hidden state of the attribute classifier's trunk, and of
the picture itself at smaller and smaller sizes: content, colour, contrast. Spreads of neighbours'
differences: grain. And how detail is distributed, which softness, haze and ringing change before
anything else: quantiles of gradient and Laplacian, by band of the picture (sky and ground differ),
by brightness and two colour axes, and by scale.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from leyden_training.evaluation.classifier import AttributeClassifier, load_classifier, reduced
from leyden_training.evaluation.intervals import Floats
from leyden_training.evaluation.pictures import PictureSet, Pixels
from leyden_training.progress import training_progress
from leyden_training.run_folder import StopRequest
from leyden_training.vae_training import as_model_input
from leyden_training.workers import Workers

__all__ = ["Description", "describe", "statistics"]

SCALES = 5
DETAIL_SCALES = 4
BANDS = 3
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
BATCH = 32

AXES = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, 0, -1 / 2), (-1 / 4, 1 / 2, -1 / 4))
"""Brightness, red against blue, green against both, of red, green and blue."""


@torch.no_grad()
def statistics(classifier: AttributeClassifier, pictures: Pixels) -> Floats:
    """Statistics (N, S), float64, of pictures of one size, (N, H, W, 3), sides from 32 up."""
    device = next(classifier.parameters()).device
    found = []
    for start in range(0, len(pictures), BATCH):
        batch = as_model_input(np.ascontiguousarray(pictures[start : start + BATCH])).to(device)
        found.append(torch.cat([_levels(classifier, batch), _detail(batch)], dim=1).double())
    together: Floats = torch.cat(found).cpu().numpy()
    return together


def _levels(classifier: AttributeClassifier, pictures: Tensor) -> Tensor:
    """Means and spreads of hidden states, of the picture, and of neighbours' differences."""
    states = [pictures, *classifier.trunk(reduced(pictures))]
    found = [part for state in states for part in (state.mean((2, 3)), _log_spread(state))]
    for _ in range(SCALES):
        for difference in (pictures.diff(dim=-1), pictures.diff(dim=-2)):
            found += [_log_spread(difference), (difference.abs().mean((2, 3)) + 1e-4).log()]
        found += [pictures.amax((2, 3)), pictures.amin((2, 3))]
        pictures = F.avg_pool2d(pictures, 2)
    return torch.cat(found, dim=1)


def _log_spread(state: Tensor) -> Tensor:
    return (state.var((2, 3)) + 1e-6).log()


def _detail(pictures: Tensor) -> Tensor:
    """Logarithms of quantiles of detail."""
    pictures = torch.einsum("ij,bjhw->bihw", pictures.new_tensor(AXES), pictures)
    found = []
    for _ in range(DETAIL_SCALES):
        across, down = pictures.diff(dim=-1)[..., :-1, :], pictures.diff(dim=-2)[..., :-1]
        inner = pictures[..., 1:-1, 1:-1]
        sideways = pictures[..., 1:-1, :-2] + pictures[..., 1:-1, 2:]
        upright = pictures[..., :-2, 1:-1] + pictures[..., 2:, 1:-1]
        for detail in (torch.hypot(across, down), (4 * inner - sideways - upright).abs()):
            found += [_quantiles(band.flatten(2)) for band in detail.chunk(BANDS, dim=2)]
        pictures = F.avg_pool2d(pictures, 2)
    return (torch.cat(found, dim=1) + 1e-3).log()


def _quantiles(values: Tensor) -> Tensor:
    """(B, C, N) → (B, C · len(QUANTILES)), without interpolation."""
    ordered = values.sort(dim=2).values
    places = [int(q * values.shape[2]) for q in QUANTILES]
    return ordered[:, :, places].flatten(1)


@dataclass(frozen=True)
class Description:
    """The statistics of a set of pictures, kept in a file."""

    file: Path
    pictures: PictureSet
    count: int
    """Pictures of the set."""

    classifier: Path
    """Run folder of the attribute classifier."""

    @property
    def key(self) -> str:
        """Of all that the statistics depend on."""
        digest = hashlib.sha256((self.classifier / "classifier.pt").read_bytes())
        digest.update((self.pictures.folder / "set.json").read_bytes())
        digest.update(str((self.count, SCALES, DETAIL_SCALES, BANDS, QUANTILES, AXES)).encode())
        return digest.hexdigest()

    def missing(self) -> bool:
        """Whether they are not there, or are of other pictures."""
        if not self.file.exists():
            return True
        with np.load(self.file) as kept:
            return bool(kept["key"] != self.key)

    def make(self, device: torch.device) -> None:
        """Compute and keep them."""
        classifier = load_classifier(self.classifier, device)
        found = statistics(classifier, self.pictures.load(self.count))
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, key=np.array(self.key), statistics=found)
        part.replace(self.file)

    def load(self) -> Floats:
        """Read them, (N, S)."""
        with np.load(self.file) as kept:
            found: Floats = kept["statistics"]
            return found


def describe(workers: Workers, descriptions: Sequence[Description]) -> None:
    """Make these, each worker its share, until done or told to stop."""
    stop, count = StopRequest(), len(descriptions)
    with training_progress("statistics of pictures", count, 0, workers) as progress:
        for done, description in enumerate(descriptions[workers.rank :: workers.count], 1):
            description.make(workers.device)
            progress(min(count, done * workers.count), {})
            if stop.asked:
                return
