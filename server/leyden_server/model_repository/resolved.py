"""A model whose entry and folder have been read: what the Gateway and the stages need."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_server.model_repository.entry import PreviewFactors, SolverName, StepRange

__all__ = ["ResolvedModel"]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that can be loaded. No weights in it; it crosses processes freely."""

    name: str
    description: str
    license: str

    base_folder: Path
    """diffusers folder with tokenizers, text encoders, VAE and the UNet's config."""
    unet_file: Path | None
    """State dict that takes the place of the base's UNet."""
    variant: str | None
    pinned_revision: str
    """Hub revision of the base, or empty: then the UNet's digest stands for it."""

    scheduler_config: dict[str, Any]
    """Config of diffusers' EulerDiscreteScheduler, the entry's schedule laid over."""
    solvers: tuple[SolverName, ...]

    steps: StepRange
    min_guidance_scale: float
    max_guidance_scale: float
    default_guidance_scale: float

    width_px: int
    height_px: int
    min_size_px: int
    max_size_px: int
    vae_scale_factor: int
    latent_channels: int

    max_prompt_tokens: int
    zeroes_empty_negative_prompt: bool
    """`force_zeros_for_empty_prompt`: an empty negative prompt is zeros, not encoded."""
    preview: PreviewFactors | None

    @property
    def base_key(self) -> str:
        """Same for models that share text encoders and VAE."""
        return f"{self.base_folder}|{self.variant or ''}"
