"""A model whose entry and folder have been read: what the Gateway and the stages need."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_server.checkpoint.model_plan import WeightFiles
from leyden_server.model_repository.entry import PreviewFactors, SolverName, StepRange

__all__ = ["FusedLora", "LearnedToken", "ResolvedModel"]


TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, slots=True)
class FusedLora:
    """A LoRA file, the factor on what it adds, and which parts it is added to."""

    file: Path
    scale: float
    parts: tuple[str, ...] = ("unet",)
    """Of unet, text_encoder and text_encoder_2: those that it has layers for and changes."""


@dataclass(frozen=True, slots=True)
class LearnedToken:
    """A textual inversion, and the token that it is called by."""

    file: Path
    token: str


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
    vae_file: Path | None
    """State dict that takes the place of the base's or the single file's VAE."""
    base_files: Mapping[str, tuple[Path, ...]]
    """The base's weight files of the parts that no other file replaces, shards in order."""
    loras: tuple[FusedLora, ...]
    """LoRAs that are added to the weights at load, in order."""
    embeddings: tuple[LearnedToken, ...]
    """Tokens that stand for learned embeddings."""

    scheduler_config: dict[str, Any]
    """Config of one of diffusers' schedulers, the entry's schedule laid over."""
    solvers: tuple[SolverName, ...]
    timesteps: Mapping[int, tuple[int, ...]]
    """By number of steps, those that have timesteps of their own."""
    eta: float
    """Of the solver tcd."""
    time_cond_proj_dim: int | None
    """Width of the guidance scale's embedding, where the UNet was distilled with guidance."""

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

    def do_classifier_free_guidance(self, guidance_scale: float) -> bool:
        """Return whether each step predicts with the prompt and without: two rows of the UNet."""
        return guidance_scale > 1 and self.time_cond_proj_dim is None

    def rows(self, guidance_scale: float) -> int:
        """Return the rows of the UNet that each step of an image takes."""
        return 2 if self.do_classifier_free_guidance(guidance_scale) else 1

    @property
    def weight_files(self) -> WeightFiles:
        """The files that the weights come from, without the LoRAs'."""
        return WeightFiles(
            self.base_folder, self.base_files, self.single_file, self.unet_file, self.vae_file
        )

    @property
    def unet_weight_files(self) -> tuple[Path, ...]:
        """The files that the UNet's weights are loaded from, without the LoRAs'."""
        own = self.unet_file or self.single_file
        return self.base_files["unet"] if own is None else (own,)

    def loras_of(self, *parts: str) -> tuple[FusedLora, ...]:
        """Return the LoRAs that change one of `parts`."""
        return tuple(lora for lora in self.loras if {*parts} & {*lora.parts})

    @property
    def text_encoder_key(self) -> str:
        """Same for models that share text encoders."""
        changes = (f"|{lora.file}*{lora.scale!r}" for lora in self.loras_of(*TEXT_ENCODERS))
        tokens = (f"|{learned.token}={learned.file}" for learned in self.embeddings)
        return self._base_key + "".join((*changes, *tokens))

    @property
    def vae_key(self) -> str:
        """Same for models that share a VAE."""
        return f"{self._base_key}|{self.vae_file}" if self.vae_file else self._base_key

    @property
    def _base_key(self) -> str:
        single_file = f"|{self.single_file}" if self.single_file else ""
        return f"{self.base_folder}|{self.variant or ''}{single_file}"
