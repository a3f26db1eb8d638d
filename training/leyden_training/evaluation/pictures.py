"""The sets of pictures that are compared, on disk in chunks, so that no pause loses much.

A set is what one source makes of the held-out prompts: a system with one block of noise seeds,
the renderer, or the VAE given the renderer's pictures. Picture i belongs to prompt i.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL

from leyden_training.data.render import render
from leyden_training.evaluation.prompts import Prompt, as_text
from leyden_training.evaluation.systems import System
from leyden_training.progress import training_progress
from leyden_training.run_folder import StopRequest
from leyden_training.vae_training import as_model_input
from leyden_training.workers import Workers, on_device

__all__ = ["CHUNK", "Paint", "PictureSet", "Pixels", "Reconstruction", "Rendering", "Sampling"]
__all__ += ["fill", "missing_chunks"]

CHUNK = 8
"""Pictures of one file, and rows of one batch of the pipeline."""

NOISE_SEED = 2_000_000
"""Of the first picture's noise; the following pictures count on from it."""

SEEDS_A_BLOCK = 1_000_000

Pixels = npt.NDArray[np.uint8]
Paint = Callable[[int, Sequence[Prompt]], Pixels]
"""From the first prompt's index and some prompts to pictures (N, H, W, 3)."""


@dataclass(frozen=True)
class Sampling:
    """Pictures of a system. Two blocks share no noise."""

    system: System
    block: int = 0

    def open(self, device: torch.device) -> Paint:
        """Load the system's pipeline, which chooses the same device by itself."""
        del device
        pipeline, system = self.system.load(), self.system
        first_seed = NOISE_SEED + self.block * SEEDS_A_BLOCK

        def paint(first: int, prompts: Sequence[Prompt]) -> Pixels:
            side = prompts[0].item.width_px
            pictures: npt.NDArray[np.float32] = pipeline(
                [prompt.text for prompt in prompts],
                num_inference_steps=system.num_inference_steps,
                guidance_scale=system.guidance_scale,
                width=side,
                height=side,
                generator=[
                    torch.Generator().manual_seed(first_seed + first + i)
                    for i in range(len(prompts))
                ],
                output_type="np",
            ).images
            return (pictures * 255).round().astype(np.uint8)

        return paint

    def fingerprint(self, prompts: Sequence[Prompt]) -> str:
        """Of the weights and configs and of how they are sampled."""
        del prompts
        digest = hashlib.sha256()
        for file in self.system.files():
            digest.update(file.read_bytes())
        s = self.system
        how = [s.num_inference_steps, s.guidance_scale, s.timestep_spacing, s.prediction_type]
        digest.update(json.dumps([*how, self.block, NOISE_SEED]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Rendering:
    """Pictures of the renderer: the prompts' scenes, each time with other chance."""

    number: int

    def open(self, device: torch.device) -> Paint:
        """Nothing needs to be loaded."""
        del device

        def paint(first: int, prompts: Sequence[Prompt]) -> Pixels:
            del first
            return np.stack([self._one(prompt) for prompt in prompts])

        return paint

    def fingerprint(self, prompts: Sequence[Prompt]) -> str:
        """Of the first pictures, which change with the renderer."""
        first = [self._one(prompt).tobytes() for prompt in prompts[:CHUNK]]
        return hashlib.sha256(b"".join(first)).hexdigest()

    def _one(self, prompt: Prompt) -> Pixels:
        item = prompt.item
        seed = int(np.random.default_rng([item.render_seed, self.number]).integers(2**62))
        return render(item.scene, width_px=item.width_px, height_px=item.height_px, seed=seed)


@dataclass(frozen=True)
class Reconstruction:
    """Rendered pictures as a pipeline's VAE gives them back: the best that it can decode."""

    pipeline: Path
    number: int

    def open(self, device: torch.device) -> Paint:
        """Load the VAE in float32."""
        vae = AutoencoderKL.from_pretrained(self.pipeline / "vae", dtype=torch.float32)
        vae, rendered = on_device(vae, device).eval(), Rendering(self.number).open(device)

        @torch.no_grad()
        def paint(first: int, prompts: Sequence[Prompt]) -> Pixels:
            pictures = as_model_input(rendered(first, prompts)).to(device)
            decoded = vae.decode(vae.encode(pictures).latent_dist.mode()).sample
            values = (decoded.clamp(-1, 1) + 1) * 127.5
            pixels: Pixels = values.round().byte().permute(0, 2, 3, 1).cpu().numpy()
            return pixels

        return paint

    def fingerprint(self, prompts: Sequence[Prompt]) -> str:
        """Of the VAE and the renderer."""
        digest = hashlib.sha256(Rendering(self.number).fingerprint(prompts).encode())
        for file in sorted((self.pipeline / "vae").glob("*.safetensors")):
            digest.update(file.read_bytes())
        return digest.hexdigest()


Source = Sampling | Rendering | Reconstruction


@dataclass(frozen=True)
class PictureSet:
    """One set on disk: `set.json` says of what, `00000.npy` and on hold the pictures."""

    folder: Path
    source: Source

    def chunk(self, number: int) -> Path:
        """File of the pictures from `number` · CHUNK on."""
        return self.folder / f"{number:05d}.npy"

    def prepare(self, prompts: tuple[Prompt, ...]) -> bool:
        """Make the folder, empty if it holds pictures of other weights or prompts.

        Returns:
            Whether pictures were thrown away.

        """
        file, fingerprint = self.folder / "set.json", self.source.fingerprint(prompts)
        chunks = [prompts[first : first + CHUNK] for first in range(0, len(prompts), CHUNK)]
        asked = [hashlib.sha256(as_text(chunk).encode()).hexdigest() for chunk in chunks]
        # Pictures without a description are what an interrupted removal has left.
        before: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        made_of: list[str] = before.get("prompts", [])
        same = all(a == b for a, b in zip(asked, made_of, strict=False))
        stale = self.folder.exists() and not (before.get("fingerprint") == fingerprint and same)
        if stale:
            shutil.rmtree(self.folder)
            made_of = []
        self.folder.mkdir(parents=True, exist_ok=True)
        described = {"fingerprint": fingerprint, "prompts": asked + made_of[len(asked) :]}
        file.write_text(json.dumps(described))
        return stale

    def missing(self, count: int) -> list[int]:
        """Return the numbers of the chunks that are not there yet."""
        return [n for n in range(count // CHUNK) if not self.chunk(n).exists()]

    def load(self, count: int) -> Pixels:
        """Read the first `count` pictures, (count, H, W, 3)."""
        return np.concatenate([np.load(self.chunk(n)) for n in range(count // CHUNK)])

    def write(self, number: int, pictures: Pixels) -> None:
        """Write a chunk, whole or not at all."""
        part = self.chunk(number).with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, pictures)
        part.replace(self.chunk(number))


def missing_chunks(sets: Iterable[PictureSet], count: int) -> list[tuple[PictureSet, int]]:
    """List what is to be made until every set has `count` pictures."""
    return [(picture_set, n) for picture_set in sets for n in picture_set.missing(count)]


def fill(
    workers: Workers, jobs: Sequence[tuple[PictureSet, int]], prompts: tuple[Prompt, ...]
) -> None:
    """Make these chunks, each worker its share, until done or told to stop."""
    stop = StopRequest()
    mine = jobs[workers.rank :: workers.count]
    with training_progress("chunks of 8 pictures", len(jobs), 0, workers) as progress:
        for picture_set, numbers in groupby(mine, key=lambda job: job[0]):
            paint = picture_set.source.open(workers.device)
            for _, number in numbers:
                first = number * CHUNK
                pictures = paint(first, prompts[first : first + CHUNK])
                picture_set.write(number, pictures)
                progress(sum(made.chunk(n).exists() for made, n in jobs), {})
                if stop.asked:
                    return
