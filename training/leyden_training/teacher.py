"""The many-step teacher as it is trained: UNet and both text encoders in one module."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from leyden_training.parts import ModelShape, build_text_encoders, build_unet

__all__ = ["Conditioning", "Teacher", "add_noise", "predict"]


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told beside latents and timestep."""

    prompt_embeds: Tensor
    """(B, 77, D), zeros for a dropped caption."""

    pooled_prompt_embeds: Tensor
    """(B, P), zeros for a dropped caption."""

    add_time_ids: Tensor
    """(B, 6): original size, crop, target size; each height, width in pixels."""

    def repeat(self, times: int) -> "Conditioning":
        """Every row `times` over, side by side."""
        return Conditioning(
            *(
                t.repeat_interleave(times, dim=0)
                for t in (self.prompt_embeds, self.pooled_prompt_embeds, self.add_time_ids)
            )
        )

    def dropped(self, keep: Tensor) -> "Conditioning":
        """Zeros in the rows where `keep` (B,) is False."""
        kept = keep.to(self.prompt_embeds.dtype)
        return Conditioning(
            self.prompt_embeds * kept[:, None, None],
            self.pooled_prompt_embeds * kept[:, None],
            self.add_time_ids,
        )


class Teacher(nn.Module):
    """UNet and text encoders, as they are trained together."""

    def __init__(self, shape: ModelShape, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.unet = build_unet(shape)
        self.text_encoder, self.text_encoder_2 = build_text_encoders(shape, tokenizer)

    def encode(self, token_ids: Tensor, width_px: int, height_px: int) -> Conditioning:
        """Token ids (B, 2, 77) → conditioning, as StableDiffusionXLPipeline makes it."""
        first = self.text_encoder(token_ids[:, 0], output_hidden_states=True)
        second = self.text_encoder_2(token_ids[:, 1], output_hidden_states=True)
        size = torch.tensor(
            [[height_px, width_px, 0, 0, height_px, width_px]],
            dtype=torch.float32,
            device=token_ids.device,
        )
        return Conditioning(
            torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1),
            second.text_embeds,
            size.repeat(len(token_ids), 1),
        )

    def forward(self, latents: Tensor, timesteps: Tensor, condition: Conditioning) -> Tensor:
        """`noise_pred` (B, 4, H/8, W/8) of noised latents; timesteps (B,)."""
        return predict(self.unet, latents, timesteps, condition)


def predict(unet: nn.Module, latents: Tensor, timesteps: Tensor, condition: Conditioning) -> Tensor:
    """Return the UNet's prediction, (B, 4, H/8, W/8)."""
    out: Tensor = unet(
        latents,
        timesteps,
        condition.prompt_embeds,
        added_cond_kwargs={
            "text_embeds": condition.pooled_prompt_embeds,
            "time_ids": condition.add_time_ids,
        },
        return_dict=False,
    )[0]
    return out


def add_noise(latents: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """√ᾱ · latents + √(1 - ᾱ) · noise, with one ᾱ for each row."""
    a = alpha_bar[:, None, None, None]
    return a.sqrt() * latents + (1 - a).sqrt() * noise
