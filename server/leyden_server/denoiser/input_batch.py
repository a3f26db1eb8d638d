"""The view of a batch that lives for one step: gather the rows, scatter the results."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from leyden_server.denoiser.guidance import guide
from leyden_server.denoiser.request_state import RequestState
from leyden_server.denoiser.step_weights import StepWeights

__all__ = ["InputBatch"]


@dataclass(frozen=True, slots=True)
class InputBatch:
    """B images, which have R rows, padded to P rows."""

    images: tuple[RequestState, ...]
    latents: torch.Tensor
    """(B, C, H, W) float32."""
    weights: StepWeights
    """(B, 1, 1, 1) float32 each: of the step that each image takes."""
    takes_previous: bool
    """Whether any step goes by the estimate of the one before it."""
    takes_noise: tuple[bool, ...]
    """Which images' steps add noise."""
    guidance_scale: torch.Tensor
    """(B, 1, 1, 1) float32."""

    sample: torch.Tensor
    """(P, C, H, W) in the UNet's dtype: scaled latents."""
    timestep: torch.Tensor
    """(P,) float32."""
    encoder_hidden_states: torch.Tensor
    """(P, 77, W) in the UNet's dtype."""
    text_embeds: torch.Tensor
    """(P, pooled width) in the UNet's dtype."""
    time_ids: torch.Tensor
    """(P, 6) in the UNet's dtype."""
    timestep_cond: torch.Tensor | None
    """(P, W) in the UNet's dtype: guidance scales, for a UNet that was distilled with guidance."""

    rows: int
    """R: the rows that count."""
    cond_rows: torch.Tensor
    """(B,) int64: the row with each image's prompt."""
    uncond_rows: torch.Tensor
    """(B,) int64: the row with its negative prompt; without guidance its prompt's again."""

    @classmethod
    def gather(cls, images: Sequence[RequestState], padded_rows: int) -> "InputBatch":
        """Lay the images' rows one after another and pad with copies of the last row.

        All images are on the device, by `RequestState.to_device`.
        """
        device = images[0].latents.device
        owner = [b for b, image in enumerate(images) for _ in range(image.rows)]
        rows = len(owner)
        first_row = [owner.index(b) for b in range(len(images))]
        owner += [owner[-1]] * (padded_rows - rows)
        of = torch.tensor(owner, device=device)

        latents = torch.stack([image.latents for image in images])
        rows_of_weights = torch.stack([image.weights for image in images])
        on_cpu = StepWeights.of_rows(rows_of_weights)
        weights = StepWeights.of_rows(rows_of_weights.to(device))
        text_embeds = _padded([image.pooled_prompt_embeds for image in images], padded_rows)
        conds = [image.timestep_cond for image in images if image.timestep_cond is not None]
        return cls(
            images=tuple(images),
            latents=latents,
            weights=weights,
            takes_previous=bool(on_cpu.previous.any()),
            takes_noise=tuple((on_cpu.noise.flatten() != 0).tolist()),
            guidance_scale=torch.tensor(
                [image.sampling.guidance_scale for image in images],
                device=device,
                dtype=torch.float32,
            ).view(-1, 1, 1, 1),
            sample=(weights.input * latents)[of].to(text_embeds.dtype),
            timestep=torch.stack(
                [image.schedule.timesteps[image.step_index] for image in images]
            ).to(device)[of],
            encoder_hidden_states=_padded([_attended(image) for image in images], padded_rows),
            text_embeds=text_embeds,
            time_ids=torch.stack([image.add_time_ids for image in images])[of],
            timestep_cond=None if not conds else torch.stack(conds)[of],
            rows=rows,
            cond_rows=torch.tensor(
                [row + image.rows - 1 for row, image in zip(first_row, images, strict=True)],
                device=device,
            ),
            uncond_rows=torch.tensor(first_row, device=device),
        )

    def guided(self, noise_pred: torch.Tensor) -> torch.Tensor:
        """Fold rows (P, C, H, W) into images (B, C, H, W) float32, guidance applied."""
        # In float32: bfloat16 would round a scale of 7.3 to 7.3125.
        cond, uncond = noise_pred[self.cond_rows].float(), noise_pred[self.uncond_rows].float()
        has_guidance = (self.cond_rows != self.uncond_rows).view(-1, 1, 1, 1)
        return torch.where(has_guidance, guide(uncond, cond, self.guidance_scale), cond)

    def denoised(self, model_output: torch.Tensor) -> torch.Tensor:
        """Estimate the denoised latents from what the UNet predicts; both (B, C, H, W) float32."""
        weights = self.weights
        return weights.estimate_latents * self.latents + weights.estimate_output * model_output

    def stepped(self, denoised: torch.Tensor) -> torch.Tensor:
        """Step each image by its own solver, to its own noise level; both (B, C, H, W) float32."""
        weights = self.weights
        stepped = weights.latents * self.latents + weights.denoised * denoised
        if self.takes_previous:
            stepped += weights.previous * self._previous(denoised)
        if any(self.takes_noise):
            stepped += weights.noise * self._noise()
        return stepped

    def scatter(self, stepped: torch.Tensor, denoised: torch.Tensor) -> None:
        """Give each image the latents (C, H, W) that its step led to, and the step's estimate."""
        for image, latents, estimate in zip(self.images, stepped, denoised, strict=True):
            image.advance(latents, estimate)

    def _previous(self, denoised: torch.Tensor) -> torch.Tensor:
        """Return the estimates of the steps before; their own where there was none.

        From two equal estimates a step of second order is one of first order.
        """
        return torch.stack(
            [
                own if image.previous is None else image.previous
                for image, own in zip(self.images, denoised, strict=True)
            ]
        )

    def _noise(self) -> torch.Tensor:
        nothing = torch.zeros(self.latents.shape[1:])
        return torch.stack(
            [
                image.noise() if takes else nothing
                for image, takes in zip(self.images, self.takes_noise, strict=True)
            ]
        ).to(self.latents.device)


def _attended(image: RequestState) -> torch.Tensor:
    assert image.encoder_hidden_states is not None, "to_device comes first"
    return image.encoder_hidden_states


def _padded(parts: list[torch.Tensor], padded_rows: int) -> torch.Tensor:
    """Lay (rows, …) one after another and pad; where there is one alone, without a copy."""
    last = parts[-1][-1:]
    missing = padded_rows - sum(len(part) for part in parts)
    parts = parts if missing == 0 else [*parts, last.expand(missing, *last.shape[1:])]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
