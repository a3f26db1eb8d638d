"""The models that the gate asks, and their pictures in any precision.

The UNet runs as the server runs it, in the engine, on a CPU by torch's form of the rounding. What
comes before and after it is in float32: the gate is about the UNet.
"""

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import AutoencoderKL

from leyden_server.accelerator.torch_thread import TorchThread
from leyden_server.denoiser.engine import DenoiseEngine
from leyden_server.denoiser.float8_products import Product
from leyden_server.denoiser.noise_schedule import NoiseSchedules
from leyden_server.denoiser.request_state import Finished, ImageEvent, RequestState
from leyden_server.denoiser.step_scheduler import BatchKey
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.model_repository import ModelRepository
from leyden_server.sampling import Sampling
from leyden_server.service_order import TravellingOrder
from leyden_server.stages.contract import EncodedPrompt
from leyden_server.text_encoder.encoder import PromptEncoder

__all__ = ["SUBJECTS", "Painter", "Subject"]

CPU = torch.device("cpu")
ROWS_AT_ONCE = 8
PATIENCE_S = 600.0
FIRST_SEED = 3_000_000
"""Of the first picture's noise: none that the evaluation of the students has."""


@dataclass(frozen=True)
class Subject:
    """A model, and how its pictures are made."""

    model: str
    """Its name in the repository."""
    steps: int
    guidance_scale: float
    pictures: int

    @property
    def name(self) -> str:
        """As tables show it."""
        guided = f", guided by {self.guidance_scale}" if self.guidance_scale > 1 else ""
        return f"{self.model}, {self.steps} step{'s' if self.steps > 1 else ''}{guided}"


_TEACHER = Subject("leyden-tiny-base", 8, 2.5, 48)
SUBJECTS = {
    "fewer than 4 steps": (
        Subject("leyden-tiny-lightning-1step", 1, 0.0, 32),
        Subject("leyden-tiny-lightning-2step", 2, 0.0, 32),
    ),
    "4 to 7 steps": (Subject("leyden-tiny-lightning-4step", 4, 0.0, 96), _TEACHER),
    "8 steps and more": (Subject("leyden-tiny-lightning-8step", 8, 0.0, 96), _TEACHER),
}
"""By how many steps a model takes, since the fewer they are the less is left to later ones. Of each
group every model has to pass."""


class Painter:
    """Makes a subject's pictures of the same prompts and noise, in one precision or another."""

    def __init__(self, subject: Subject, prompts: Sequence[str]) -> None:
        """Encode the prompts and load the VAE, both in float32."""
        self._subject = subject
        self._model = ModelRepository().resolve(subject.model)
        encoder = PromptEncoder(self._model, dtype=torch.float32, device=CPU, replica="")
        self._prompts = [encoder.encode([prompt])[0] for prompt in prompts]
        self._vae = AutoencoderKL.from_pretrained(
            self._model.base_folder / "vae", dtype=torch.float32
        ).eval()
        self._schedule = NoiseSchedules(self._model.scheduler_config).get("euler", subject.steps)

    def paint(
        self,
        dtype: torch.dtype,
        products: frozenset[Product],
        progress: Callable[[int], None],
    ) -> torch.Tensor:
        """Return pictures (N, H, W, 3) float32, 0 … 1, of the UNet in `dtype`.

        `products` are in 8-bit floats; `progress` is told how many pictures are done.
        """
        thread = TorchThread("fp8-gate", 1)
        try:
            runner = thread.run(
                partial(UNetRunner.load, self._model, dtype=dtype, device=CPU, float8=products)
            )
            images = [self._image(*one, dtype) for one in enumerate(self._prompts)]
            latents = _denoised(thread, runner, images, progress)
            return thread.run(self._decoded, latents)
        finally:
            thread.stop()

    @torch.inference_mode()
    def _decoded(self, latents: Sequence[torch.Tensor]) -> torch.Tensor:
        scaled = torch.stack(list(latents)) / self._vae.config.scaling_factor
        pixels = torch.cat([self._vae.decode(some).sample for some in scaled.split(ROWS_AT_ONCE)])
        return (pixels * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    def _image(self, number: int, prompt: EncodedPrompt, dtype: torch.dtype) -> RequestState:
        model, subject, schedule = self._model, self._subject, self._schedule
        is_guided = model.do_classifier_free_guidance(subject.guidance_scale)
        rows = [prompt.zeroed(), prompt] if is_guided else [prompt]
        size = (model.height_px, model.width_px)
        factor = model.vae_scale_factor
        shape = (model.latent_channels, size[0] // factor, size[1] // factor)
        generator = torch.Generator().manual_seed(FIRST_SEED + number)
        embeds = torch.stack([torch.tensor(row.prompt_embeds) for row in rows])
        pooled = torch.stack([torch.tensor(row.pooled_prompt_embeds) for row in rows])
        return RequestState(
            batch_key=BatchKey(shape, str(dtype), (*embeds.shape[1:], pooled.shape[1])),
            sampling=Sampling(
                seed=FIRST_SEED + number,
                width_px=model.width_px,
                height_px=model.height_px,
                num_inference_steps=subject.steps,
                guidance_scale=subject.guidance_scale,
                solver="euler",
            ),
            order=TravellingOrder().arrived(),
            schedule=schedule,
            generator=generator,
            prompt_embeds=embeds,
            pooled_prompt_embeds=pooled,
            add_time_ids=torch.tensor([*size, 0, 0, *size]),
            preview_every_steps=None,
            emit=lambda _: None,
            latents=torch.randn(shape, generator=generator) * schedule.init_noise_sigma,
        )


def _denoised(
    thread: TorchThread,
    runner: UNetRunner,
    images: Sequence[RequestState],
    progress: Callable[[int], None],
) -> list[torch.Tensor]:
    """Return the latents (C, H, W) of each image."""
    ended: queue.SimpleQueue[tuple[int, ImageEvent]] = queue.SimpleQueue()
    engine = DenoiseEngine(thread, runner, ROWS_AT_ONCE)
    engine.warm_up([tuple(images[0].latents.shape[1:])], measure=False)
    for number, image in enumerate(images):
        image.emit = lambda event, number=number: ended.put((number, event))
        engine.submit(image)
    engine.start()
    latents: dict[int, torch.Tensor] = {}
    try:
        while len(latents) < len(images):
            number, event = ended.get(timeout=PATIENCE_S)
            if isinstance(event, Finished):
                if event.latents is None:
                    raise event.error or RuntimeError("the engine dropped an image")
                latents[number] = event.latents
                progress(len(latents))
    finally:
        engine.stop()
    return [latents[number] for number in range(len(images))]
