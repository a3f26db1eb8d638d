"""The same weights in stock diffusers, in this process."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file

from leyden_server.model_repository import ResolvedModel
from leyden_server.vae.image_file import encode_image

__all__ = ["Pipeline"]


class Pipeline:
    """`StableDiffusionXLPipeline` in float32, its images encoded as the server's are."""

    def __init__(self, model: ResolvedModel) -> None:
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()
        self._model = model
        self._pipeline: Any = StableDiffusionXLPipeline.from_pretrained(
            model.base_folder,
            dtype=torch.float32,
            variant=model.variant,
            use_safetensors=True,
            add_watermarker=False,
        )
        if model.unet_file is not None:
            weights = load_file(model.unet_file)
            self._pipeline.unet.load_state_dict({k: v.float() for k, v in weights.items()})
        self._pipeline.scheduler = EulerDiscreteScheduler.from_config(model.scheduler_config)
        self._pipeline.set_progress_bar_config(disable=True)

    def images(self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int) -> list[bytes]:
        """Return one image of each prompt, made as one batch, as PNG."""
        images = self._pipeline(
            list(prompts),
            num_inference_steps=steps,
            guidance_scale=0.0,
            width=self._model.width_px,
            height=self._model.height_px,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images
        return [encode_image(np.asarray(image), "PNG", 100, {}) for image in images]

    def timed(self, prompt: str, seed: int, *, steps: int) -> float:
        """Make one image; return the seconds that it took."""
        start = time.perf_counter()
        self.images([prompt], [seed], steps=steps)
        return time.perf_counter() - start

    def stage_seconds(self, prompt: str, seed: int, *, steps: int) -> dict[str, float]:
        """Make one image; return the seconds of each stage, and of the `total`.

        `text_encode`, `unet` (all steps), `vae_decode`, and `rest`: the sampler, copies, PNG.
        """
        seconds: defaultdict[str, float] = defaultdict(float)
        pipeline = self._pipeline
        timed = {
            "text_encode": (pipeline, "encode_prompt"),
            "unet": (pipeline.unet, "forward"),
            "vae_decode": (pipeline.vae, "decode"),
        }
        originals = {name: getattr(owner, method) for name, (owner, method) in timed.items()}
        for name, (owner, method) in timed.items():
            setattr(owner, method, _adding_to(seconds, name, originals[name]))
        try:
            total = self.timed(prompt, seed, steps=steps)
        finally:
            for owner, method in timed.values():
                delattr(owner, method)  # the class's own shows again
        return {**seconds, "rest": total - sum(seconds.values()), "total": total}


def _adding_to(seconds: dict[str, float], name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return run(*args, **kwargs)
        finally:
            seconds[name] += time.perf_counter() - start

    return timed
