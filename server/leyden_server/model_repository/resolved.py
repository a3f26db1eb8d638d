"""A model whose entry and folder have been read: what the Gateway and the stages need."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_server.model_repository.entry import PreviewFactors, SolverName, StepRange

__all__ = ["FusedLora", "ResolvedModel"]


@dataclass(frozen=True, slots=True)
class FusedLora:
    """A LoRA file and the factor on its weights."""

    file: Path
    scale: float


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that can be loaded. No weights in it; it crosses processes freely."""

    name: str
    description: str
    license: str

    base_folder: Path
    """diffusers folder with tokenizers and configs, and the weights that no file replaces."""
    variant: str | None
    """Variant of the base's weight files."""
    single_file: Path | None
    """All-in-one checkpoint that takes the place of all of the base's weights."""
    unet_file: Path | None
    """State dict that takes the place of the base's or the single file's UNet."""
    base_unet_files: tuple[Path, ...]
    """The base's UNet weights, in order; empty where another file takes their place."""
    lora: FusedLora | None
    """LoRA that is fused into the UNet's weights at load."""

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
    known_words: tuple[str, ...]
    """The words that it knows, in alphabetical order; empty where they are not limited."""

    @property
    def unet_weight_files(self) -> tuple[Path, ...]:
        """The files that the UNet's weights are loaded from, without the LoRA's."""
        if self.unet_file is not None:
            return (self.unet_file,)
        return self.base_unet_files if self.single_file is None else (self.single_file,)

    @property
    def base_key(self) -> str:
        """Same for models that share text encoders and VAE."""
        single_file = f"|{self.single_file}" if self.single_file else ""
        return f"{self.base_folder}|{self.variant or ''}{single_file}"
