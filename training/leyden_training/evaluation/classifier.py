"""A small CNN that tells a picture's attributes, and the features that pictures are judged by.

Residual blocks at a quarter, an eighth and a sixteenth of the input's size, pooled over the
whole picture by mean and by maximum: a mean tells the palette and the land, a maximum finds
one small boat. It sees every picture at about `INPUT_PX` pixels a side, whatever its aspect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from leyden_training.data.scene import ATTRIBUTES
from leyden_training.vae_training import as_model_input
from leyden_training.workers import on_device

__all__ = ["FEATURES", "AttributeClassifier", "Judgement", "judge"]
__all__ += ["load_classifier", "reduced"]

INPUT_PX = 128
"""About the geometric mean of the sides of what the classifier sees."""

FEATURES = 48
"""Width of the features. A covariance of them has 1,176 numbers, which a few hundred pictures
determine; the 2,048 of Inception would need tens of thousands."""

CHANNELS = (32, 64, 128)
GROUPS = 8
BATCH = 64


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        self.branch = nn.Sequential(
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            last,
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        out: Tensor = hidden + self.branch(hidden)
        return out


class Trunk(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] → hidden states of three sizes, largest first."""

    def __init__(self) -> None:
        super().__init__()
        first = CHANNELS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first // 2, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(first // 2, first, 3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Identity()
                if before == channels
                else nn.Conv2d(before, channels, 3, stride=2, padding=1),
                ResidualBlock(channels),
            )
            for before, channels in zip((first, *CHANNELS), CHANNELS, strict=False)
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Of shapes (B, C, H/4, W/4), (B, 2C, H/8, W/8), (B, 4C, H/16, W/16)."""
        hidden = self.stem(pictures)
        outputs = []
        for stage in self.stages:
            hidden = stage(hidden)
            outputs.append(hidden)
        return outputs


class AttributeClassifier(nn.Module):
    """The trunk, features, and a linear head for each attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.norm = nn.LayerNorm(2 * CHANNELS[-1])
        self.to_features = nn.Linear(2 * CHANNELS[-1], FEATURES)
        self.heads = nn.ModuleList(
            nn.Linear(FEATURES, len(classes)) for classes in ATTRIBUTES.values()
        )

    def features(self, pictures: Tensor) -> Tensor:
        """Features (B, FEATURES) of pictures (B, 3, H, W) in [-1, 1], any sides from 32 up."""
        hidden = F.silu(self.trunk(pictures)[-1])
        pooled = torch.cat([hidden.mean(dim=(2, 3)), hidden.amax(dim=(2, 3))], dim=1)
        out: Tensor = self.to_features(self.norm(pooled))
        return out

    def logits(self, features: Tensor) -> list[Tensor]:
        """One (B, classes) for each attribute of ATTRIBUTES, in its order."""
        active = F.silu(features)
        return [head(active) for head in self.heads]

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Logits of pictures."""
        return self.logits(self.features(pictures))


@dataclass(frozen=True)
class Judgement:
    """What the classifier says of N pictures."""

    features: npt.NDArray[np.float64]
    """(N, FEATURES)."""

    classes: npt.NDArray[np.int64]
    """(N, len(ATTRIBUTES)): the likeliest class of each attribute."""


def reduced(pictures: Tensor) -> Tensor:
    """Reduce (B, 3, H, W) by the whole number that brings it nearest to `INPUT_PX`, if any."""
    factor = max(1, round((pictures.shape[2] * pictures.shape[3]) ** 0.5 / INPUT_PX))
    return F.avg_pool2d(pictures, factor) if factor > 1 else pictures


@torch.no_grad()
def judge(classifier: AttributeClassifier, pictures: npt.NDArray[np.uint8]) -> Judgement:
    """Features and classes of pictures of one size, (N, H, W, 3) uint8."""
    device = next(classifier.parameters()).device
    features, classes = [], []
    for start in range(0, len(pictures), BATCH):
        batch = reduced(as_model_input(np.ascontiguousarray(pictures[start : start + BATCH])))
        found = classifier.features(batch.to(device))
        features.append(found.double().cpu().numpy())
        classes.append(_likeliest(classifier.logits(found)))
    return Judgement(np.concatenate(features), np.concatenate(classes))


def _likeliest(logits: Sequence[Tensor]) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = torch.stack([x.argmax(dim=1) for x in logits], 1).cpu().numpy()
    return found


def load_classifier(run: Path, device: torch.device | str = "cpu") -> AttributeClassifier:
    """Load the averaged weights of a finished run of `train_classifier`.

    Raises:
        FileNotFoundError: there is none, or its training has not ended.

    """
    file = run / "classifier.pt"
    if not file.exists():
        raise FileNotFoundError(
            f"{file} is missing: train the classifier to its end with `leyden-train classifier`"
        )
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    classifier = AttributeClassifier()
    classifier.load_state_dict(state)
    return on_device(classifier, torch.device(device)).eval()
