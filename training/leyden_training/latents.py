"""Latents and token ids of a rendered data set, computed once and kept.

The pictures are encoded at two sizes, whole and half: the teacher learns on halves first,
which costs a quarter, as SDXL itself was trained at 256 and 512 px before 1024.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderKL
from rich.progress import track
from torch import Tensor
from transformers import CLIPTokenizer

from leyden_training.data.captions import Caption
from leyden_training.data.dataset import Bucket, Dataset, load_dataset
from leyden_training.parts import SCALING_FACTOR, ModelShape
from leyden_training.precision import mixed_precision
from leyden_training.vae_training import as_model_input, load_vae, whiten

__all__ = ["LatentBucket", "LatentDataset", "cache_latents", "load_latents", "whitened_vae"]

WHITENING_PICTURES = 512
BATCH = 16


@dataclass(frozen=True)
class LatentBucket:
    """Latents of pictures of one size."""

    width_px: int
    height_px: int
    latents: np.ndarray[Any, np.dtype[np.float16]]
    """(N, 4, H/8, W/8), scaled as the UNet sees them."""

    token_ids: np.ndarray[Any, np.dtype[np.int64]]
    """(N, captions, 2, 77): of each caption, for each tokenizer."""


@dataclass(frozen=True)
class LatentDataset:
    """Latents of a data set at one scale."""

    buckets: tuple[LatentBucket, ...]

    def draw(self, count: int, random: np.random.Generator) -> tuple[LatentBucket, Any]:
        """Draw a bucket, by its share of the pictures, and `count` indices into it."""
        sizes = np.array([len(b.latents) for b in self.buckets], dtype=float)
        bucket = self.buckets[random.choice(len(sizes), p=sizes / sizes.sum())]
        return bucket, random.integers(len(bucket.latents), size=count)


@torch.no_grad()
def whitened_vae(vae_run: Path, data: Path, shape: ModelShape) -> AutoencoderKL:
    """Load the VAE of a run and whiten it by the latents of some of the pictures."""
    vae = load_vae(vae_run, shape).to(memory_format=torch.channels_last)
    return whiten(vae, _sample_latents(vae, load_dataset(data)))


@torch.no_grad()
def cache_latents(
    data: Path,
    vae: AutoencoderKL,
    out: Path,
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
) -> None:
    """Write the latents of all pictures, and the token ids of their captions, to `out`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae = vae.to(device, memory_format=torch.channels_last)
    dataset = load_dataset(data)
    out.mkdir(parents=True, exist_ok=True)
    described_in = out / "buckets.json"
    described_in.unlink(missing_ok=True)  # while it is there, what is beside it is whole
    buckets = [b for b in dataset.buckets.values() if len(b)]
    described = []
    for number, bucket in enumerate(buckets):
        np.save(out / f"tokens-{number}.npy", _tokenize(bucket.captions, tokenizers))
        for name, factor in (("whole", 1), ("half", 2)):
            parts = []
            starts = range(0, len(bucket), BATCH)
            for start in track(starts, f"latents {bucket.width_px}x{bucket.height_px} {name}"):
                pictures = _pictures(bucket, range(start, min(start + BATCH, len(bucket))))
                if factor == 2:
                    pictures = F.avg_pool2d(pictures, 2)
                parts.append(_encode(vae, pictures.to(device)).cpu().half().numpy())
            np.save(out / f"latents-{name}-{number}.npy", np.concatenate(parts))
        described.append({"width_px": bucket.width_px, "height_px": bucket.height_px})
    described_in.write_text(json.dumps(described))


def load_latents(folder: Path, *, half: bool = False) -> LatentDataset:
    """Open what `cache_latents` wrote, mapped from disk.

    Raises:
        FileNotFoundError: nothing is cached there.

    """
    name, factor = ("half", 2) if half else ("whole", 1)
    described = json.loads((folder / "buckets.json").read_text())
    return LatentDataset(
        tuple(
            LatentBucket(
                width_px=bucket["width_px"] // factor,
                height_px=bucket["height_px"] // factor,
                latents=np.load(folder / f"latents-{name}-{number}.npy", mmap_mode="r"),
                token_ids=np.load(folder / f"tokens-{number}.npy"),
            )
            for number, bucket in enumerate(described)
            # Half of a wide picture need not divide by the VAE's factor.
            if bucket["width_px"] % (8 * factor) == bucket["height_px"] % (8 * factor) == 0
        )
    )


def _encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    with mixed_precision(pictures.device):
        latents = vae.encode(pictures).latent_dist.mode()
    scaled: Tensor = latents.float() * vae.config.scaling_factor
    return scaled


def _sample_latents(vae: AutoencoderKL, dataset: Dataset) -> Tensor:
    random = np.random.default_rng(0)
    bucket = max(dataset.buckets.values(), key=len)
    chosen = random.permutation(len(bucket))[:WHITENING_PICTURES].tolist()
    parts = [
        _encode(vae, _pictures(bucket, chosen[i : i + BATCH])) for i in range(0, len(chosen), BATCH)
    ]
    latents = torch.cat(parts) / SCALING_FACTOR
    return latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])


def _pictures(bucket: Bucket, positions: Iterable[int]) -> Tensor:
    return as_model_input(np.stack([bucket.picture(position) for position in positions]))


def _tokenize(
    captions: Iterable[Iterable[Caption]], tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = [[caption.text for caption in row] for row in captions]
    flat = [text for row in rows for text in row]
    ids = [
        np.array(
            t(flat, padding="max_length", truncation=True, max_length=t.model_max_length).input_ids
        )
        for t in tokenizers
    ]
    return np.stack(ids, axis=1).reshape(len(rows), -1, 2, ids[0].shape[1])
