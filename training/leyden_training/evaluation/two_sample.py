"""The two-sample test: whether a classifier can tell one system's pictures from another's.

The measurable form of a blind test. A classifier is trained on some of the pictures of two
systems and asked whose the others are; 0.5 is guessing (Lopez-Paz and Oquab, arXiv 1610.06545).
It decides by statistics of every hidden state of the attribute classifier's trunk, and of the
picture itself, at its whole size and at smaller ones: means, spreads, and differences of
neighbours, which tell content, colour, contrast, haze and grain. A logistic regression on them
is where it starts; trunk and regression are then trained on together. Both systems get the same
prompts and different noise, and both pictures of a prompt are in the same fold, so that neither
a prompt nor its noise gives an answer away.
"""

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from leyden_training.evaluation.classifier import AttributeClassifier, Trunk, reduced
from leyden_training.evaluation.intervals import Estimate, Floats
from leyden_training.evaluation.pictures import Pixels
from leyden_training.precision import mixed_precision

__all__ = ["FOLDS", "TwoSampleSettings", "folds", "side_by_side", "singly", "tell_apart"]

FOLDS = 5
SCALES = 5
BATCH = 64
RIDGE = 0.01
"""Of the logistic regression: its mean loss and so much of the squared weights are least."""


@dataclass(frozen=True)
class TwoSampleSettings:
    """How the classifier of each fold is trained."""

    epochs: int = 4
    """After the regression; 0 leaves the trunk as it is."""

    batch: int = 32
    learning_rate: float = 3e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"epochs: {self.epochs} is below 0")


class WhoseClassifier(nn.Module):
    """A logit for "of the second system", from standardised statistics of a picture."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        width = statistics(self.trunk, torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape[1]
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = nn.Linear(width, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 → (B,)."""
        standardised = (statistics(self.trunk, pictures) - self.centre) / self.scale
        out: Tensor = self.head(standardised)
        return out[:, 0]

    @torch.no_grad()
    def start(self, pictures: Tensor, labels: Tensor) -> None:
        """Set the head to a logistic regression, with the trunk as it is."""
        found = torch.cat([statistics(self.trunk, part) for part in pictures.split(BATCH)])
        self.centre, self.scale = found.mean(dim=0), found.std(dim=0) + 1e-6
        weights, bias = _logistic_regression((found - self.centre) / self.scale, labels)
        self.head.weight.copy_(weights[None])
        self.head.bias.copy_(bias)


def statistics(trunk: Trunk, pictures: Tensor) -> Tensor:
    """Statistics (B, S), float32, of pictures (B, 3, H, W), uint8."""
    pictures = (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
    states = [pictures, *trunk(reduced(pictures))]
    found = [part for state in states for part in (_mean(state.float()), _log_spread(state))]
    for _ in range(SCALES):
        for difference in (pictures.diff(dim=-1), pictures.diff(dim=-2)):
            found.append(_log_spread(difference))
            found.append((_mean(difference.abs()) + 1e-4).log())
        found += [pictures.amax(dim=(2, 3)), pictures.amin(dim=(2, 3))]
        pictures = F.avg_pool2d(pictures, 2)
    return torch.cat(found, dim=1)


def _mean(state: Tensor) -> Tensor:
    return state.mean(dim=(2, 3))


def _log_spread(state: Tensor) -> Tensor:
    return (state.float().var(dim=(2, 3)) + 1e-6).log()


def _logistic_regression(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (S,) and bias (1,) for labels of 0 and 1."""
    weights = torch.zeros(features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(1, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        with torch.enable_grad():
            logits = features @ weights + bias
            value = F.binary_cross_entropy_with_logits(logits, labels)
            value = value + RIDGE * weights.square().sum()
            value.backward()
        return value.item()

    optimizer.step(loss)
    return weights.detach(), bias.detach()


def folds(prompts: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the fold of each prompt, (N,): as many in each as can be."""
    return np.random.default_rng([seed, prompts]).permutation(prompts) % FOLDS


def tell_apart(
    first: Pixels,
    second: Pixels,
    fold: int,
    classifier: AttributeClassifier,
    settings: TwoSampleSettings,
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Train on all folds but one and ask about that one.

    Args:
        first: pictures of one system, (N, H, W, 3), picture i of prompt i.
        second: pictures of the other, of the same prompts.
        fold: which is asked about.
        classifier: whose trunk is trained on; on the device to use.
        settings: how to train.

    Returns:
        The prompts of the fold, (n,), and the logits of "of the second system" of each one's
        two pictures, (n, 2).

    """
    device = next(classifier.parameters()).device
    membership = folds(len(first), settings.seed)
    asked, trained = np.flatnonzero(membership == fold), np.flatnonzero(membership != fold)
    pairs = torch.from_numpy(np.stack([first, second], axis=1)).permute(0, 1, 4, 2, 3).to(device)
    pictures = pairs[trained].flatten(0, 1)
    labels = torch.tensor([0.0, 1.0], device=device).repeat(len(trained))
    model = WhoseClassifier(classifier.trunk.requires_grad_(True)).to(device)
    model.start(pictures, labels)
    if settings.epochs:
        _train(model, pictures, labels, settings, np.random.default_rng([settings.seed, fold]))
    return asked, _logits(model, pairs[asked].flatten(0, 1)).reshape(-1, 2)


def _train(
    model: WhoseClassifier,
    pictures: Tensor,
    labels: Tensor,
    settings: TwoSampleSettings,
    random: np.random.Generator,
) -> None:
    device, per_epoch = pictures.device, -(-len(pictures) // settings.batch)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, settings.epochs * per_epoch
    )
    for _ in range(settings.epochs):
        for rows in np.array_split(random.permutation(len(pictures)), per_epoch):
            mirrored = torch.from_numpy(random.random(len(rows)) < 0.5).to(device)
            shown = pictures[rows]
            shown = torch.where(mirrored[:, None, None, None], shown.flip(-1), shown)
            with mixed_precision(device):
                logits = model(shown)
            loss = F.binary_cross_entropy_with_logits(logits.float(), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()


@torch.no_grad()
def _logits(model: WhoseClassifier, pictures: Tensor) -> Floats:
    """Logits (N,) of pictures and of their mirror images, summed."""
    found = [model(part) + model(part.flip(-1)) for part in pictures.split(BATCH)]
    logits: Floats = torch.cat(found).double().cpu().numpy()
    return logits


def singly(logits: Floats, draws: npt.NDArray[np.int64]) -> Estimate:
    """Share of pictures told right, each looked at alone.

    Prompts and not pictures are drawn: a prompt's two pictures were asked of one classifier,
    and one that leans to one answer is right of one and wrong of the other.

    Args:
        logits: (N, 2), of the first and of the second system's picture of each prompt.
        draws: (R, N), prompts drawn with replacement.

    """
    return _share(((logits[:, 0] < 0) + (logits[:, 1] > 0).astype(float)) / 2, draws)


def side_by_side(logits: Floats, draws: npt.NDArray[np.int64]) -> Estimate:
    """Share of prompts whose two pictures, looked at together, are told right.

    The same arguments as `singly`. The easier question, hence the harder test to pass: what the
    prompt makes of both pictures alike does not mislead any more.
    """
    return _share(0.5 + 0.5 * np.sign(logits[:, 1] - logits[:, 0]), draws)


def _share(right: Floats, draws: npt.NDArray[np.int64]) -> Estimate:
    return Estimate(float(right.mean()), right[draws].mean(axis=1))
