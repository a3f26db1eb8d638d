"""The view of a batch that lives for one step: gather the rows, scatter the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from leyden_server.denoiser.euler import guide, scale_model_input
from leyden_server.denoiser.request_state import RequestState
from leyden_server.denoiser.solvers import Solver

__all__ = ["InputBatch"]


@dataclass(frozen=True, slots=True)
class InputBatch:
    """B images, which have R rows, padded to P rows."""

    images: tuple[RequestState, ...]
    latents: torch.Tensor
    """(B, C, H, W) float32."""
    sigma: torch.Tensor
    """(B, 1, 1, 1) float32: where each image stands."""
    sigma_next: torch.Tensor
    """(B, 1, 1, 1) float32: where its step ends."""
    guidance_scale: torch.Tensor
    """(B, 1, 1, 1) float32."""

    sample: torch.Tensor
    """(P, C, H, W) in the UNet's dtype: scaled latents."""
    timestep: torch.Tensor
    """(P,) float32."""
    encoder_hidden_states: torch.Tensor
    """(P, 77, D) in the UNet's dtype."""
    text_embeds: torch.Tensor
    """(P, pooled width) in the UNet's dtype."""
    time_ids: torch.Tensor
    """(P, 6) in the UNet's dtype."""

    rows: int
    """R: the rows that count."""
    cond_rows: torch.Tensor
    """(B,) int64: the row with each image's prompt."""
    uncond_rows: torch.Tensor
    """(B,) int64: the row with its negative prompt; without guidance its prompt's again."""

    @classmethod
    def gather(cls, images: Sequence[RequestState], padded_rows: int) -> "InputBatch":
        """Lay the images' rows one after another and pad with copies of the last row."""
        device = images[0].latents.device
        owner = [b for b, image in enumerate(images) for _ in range(image.rows)]
        rows = len(owner)
        first_row = [owner.index(b) for b in range(len(images))]
        owner += [owner[-1]] * (padded_rows - rows)
        of = torch.tensor(owner, device=device)

        latents = torch.stack([image.latents for image in images])
        sigma = _column([image.schedule.sigmas[image.step_index] for image in images], device)
        prompt_embeds = torch.cat([image.prompt_embeds for image in images])
        pooled = torch.cat([image.pooled_prompt_embeds for image in images])
        return cls(
            images=tuple(images),
            latents=latents,
            sigma=sigma,
            sigma_next=_column(
                [image.schedule.sigmas[image.step_index + 1] for image in images], device
            ),
            guidance_scale=_column(
                [torch.tensor(image.sampling.guidance_scale) for image in images], device
            ),
            sample=scale_model_input(latents, sigma)[of].to(prompt_embeds.dtype),
            timestep=torch.stack(
                [image.schedule.timesteps[image.step_index] for image in images]
            ).to(device)[of],
            encoder_hidden_states=_pad(prompt_embeds, padded_rows),
            text_embeds=_pad(pooled, padded_rows),
            time_ids=torch.stack([image.add_time_ids for image in images])[of],
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

    def stepped(self, denoised: torch.Tensor) -> torch.Tensor:
        """Step each image by its own solver towards `denoised`; both (B, C, H, W) float32."""
        stepped = torch.empty_like(self.latents)
        for solver, members in self._by_solver().items():
            noise = partial(self._noise, [self.images[b] for b in members])
            # A slice copies nothing, and is what there is where all have one solver.
            of = slice(None) if len(members) == len(self.images) else members
            stepped[of] = solver.step(
                self.latents[of], denoised[of], self.sigma[of], self.sigma_next[of], noise
            )
        return stepped

    def scatter(self, stepped: torch.Tensor) -> None:
        """Give each image the latents (C, H, W) that its step led to."""
        for image, latents in zip(self.images, stepped, strict=True):
            image.advance(latents)

    def _by_solver(self) -> dict[Solver, list[int]]:
        members: dict[Solver, list[int]] = {}
        for b, image in enumerate(self.images):
            members.setdefault(image.solver, []).append(b)
        return members

    def _noise(self, images: list[RequestState]) -> torch.Tensor:
        return torch.stack([image.noise() for image in images]).to(self.latents.device)


def _column(values: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    return torch.stack(values).to(device, torch.float32).view(-1, 1, 1, 1)


def _pad(rows: torch.Tensor, padded_rows: int) -> torch.Tensor:
    missing = padded_rows - rows.shape[0]
    return rows if missing == 0 else torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])])
