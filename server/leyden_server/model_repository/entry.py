"""The shape of `model.yaml`: what a model is made of and what it accepts.

The defaults are those of SDXL base 1.0, so that a plain diffusers SDXL folder needs
no `model.yaml` at all.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from leyden_server.model_repository.known_words import words_in
from leyden_server.model_repository.sources import (
    EmbeddingSource,
    FileSource,
    FolderSource,
    LoraSource,
)
from leyden_server.sampling import SolverName
from leyden_server.strict_model import StrictModel

__all__ = [
    "DEFAULT_ETA",
    "GuidanceRange",
    "ModelEntry",
    "NoiseScheduleOverrides",
    "PredictionType",
    "PreviewFactors",
    "SizeRange",
    "SolverName",
    "StepRange",
    "TimestepSpacing",
]

PredictionType = Literal["epsilon", "sample", "v_prediction"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]
DEFAULT_ETA = 0.0
"""TCD's as diffusers' pipelines have it, which pass 0 to the scheduler unless told otherwise."""


class NoiseScheduleOverrides(StrictModel):
    """How the denoising loop samples. What is not set comes from the base's scheduler."""

    solvers: tuple[SolverName, ...] = ()
    """Rules of a denoise step that the model may use, the default first."""

    timestep_spacing: TimestepSpacing | None = None
    """Which training timesteps the steps fall on."""

    prediction_type: PredictionType | None = None
    """What the UNet predicts. Not set: what the weight file is marked with (`v_pred`), else
    what the base's scheduler says."""

    rescale_betas_zero_snr: bool | None = None
    """Whether the last timestep is noise alone (zero terminal SNR). Not set: what the weight
    file is marked with (`ztsnr`), else what the base's scheduler says."""

    timesteps: Mapping[int, tuple[int, ...]] = Field(default_factory=dict)
    """By number of steps, the training timesteps that these steps fall on, falling: for a
    checkpoint whose card names them. Other numbers of steps go by the spacing."""

    eta: float | None = Field(default=None, ge=0, le=1)
    """How much noise the solver `tcd` adds anew at each step, from none to all of it; 0 if
    not set, as diffusers' pipelines have it."""

    @field_validator("solvers")
    @classmethod
    def _no_solver_twice(cls, solvers: tuple[SolverName, ...]) -> tuple[SolverName, ...]:
        if len({*solvers}) < len(solvers):
            raise ValueError("a solver is named twice")
        return solvers

    @field_validator("timesteps")
    @classmethod
    def _a_falling_list_for_each_count(
        cls, timesteps: Mapping[int, tuple[int, ...]]
    ) -> Mapping[int, tuple[int, ...]]:
        for count, of_count in timesteps.items():
            if count < 1 or len(of_count) != count:
                raise ValueError(f"{count} steps have {len(of_count)} timesteps")
            falling = all(after < one for one, after in pairwise(of_count))
            if not falling or of_count[-1] < 0:
                raise ValueError(f"the timesteps of {count} steps fall, to 0 at the lowest")
        return timesteps


class StepRange(StrictModel):
    """Numbers of denoise steps, inclusive."""

    default: int = Field(default=50, ge=1)
    """Steps of a request that names none."""

    min: int = Field(default=1, ge=1)
    """Fewest steps."""

    max: int = Field(default=100, le=1000)
    """Most steps."""

    recommended_min: int | None = None
    """Fewer steps than this are served with a warning."""

    recommended_max: int | None = None
    """More steps than this are served with a warning."""

    @model_validator(mode="after")
    def _default_within(self) -> Self:
        if not self.min <= self.default <= self.max:
            raise ValueError("min <= default <= max must hold")
        return self


class GuidanceRange(StrictModel):
    """Classifier-free guidance scales, inclusive."""

    default: float = Field(default=7.0, ge=0)
    """Scale of a request that names none; at or below 1 guidance is off."""

    min: float = Field(default=0.0, ge=0)
    """Smallest scale."""

    max: float = Field(default=20.0, ge=0)
    """Largest scale."""

    @model_validator(mode="after")
    def _default_within(self) -> Self:
        if not self.min <= self.default <= self.max:
            raise ValueError("min <= default <= max must hold")
        return self


class SizeRange(StrictModel):
    """Image sizes in pixels. What is not set follows from the UNet's native size."""

    default_width_px: int | None = Field(default=None, ge=8)
    """Width of a request that names none; the UNet's native size if not set."""

    default_height_px: int | None = Field(default=None, ge=8)
    """Height of a request that names none; the UNet's native size if not set."""

    min_px: int | None = Field(default=None, ge=8)
    """Shortest side; half of the shorter native side if not set."""

    max_px: int | None = Field(default=None, ge=8)
    """Longest side; twice the longer native side if not set."""


class PreviewFactors(StrictModel):
    """A linear map from latents (scaled, as the UNet sees them) to RGB in 0 … 1."""

    factors: tuple[tuple[float, float, float], ...]
    """One (r, g, b) row for each latent channel."""

    bias: tuple[float, float, float]
    """RGB of a latent of zeros."""


class ModelEntry(StrictModel):
    """One entry of the model repository."""

    description: str = ""
    """One line on what the model is."""

    license: str = "unknown"
    """Licence of the weights; an SPDX id where there is one."""

    base: FolderSource = FolderSource(path=".")
    """A diffusers SDXL folder: everything that is not laid over it, and the configs and
    tokenizers in any case."""

    variant: str = Field(default="", pattern=r"^[\w-]*$")
    """Variant of the base's weight files, such as fp16."""

    single_file: FileSource | None = None
    """An all-in-one checkpoint in the original SDXL layout: UNet, both text encoders and VAE
    come from it in place of the base's."""

    unet: FileSource | None = None
    """A UNet's weights by diffusers' or the original names, without a config of their own: they
    are laid over the base's UNet config, in place of the base's or the single file's UNet."""

    vae: FileSource | None = None
    """A VAE's weights by diffusers' or the original names, in place of the base's or the single
    file's, over the base's VAE config."""

    lora: tuple[LoraSource, ...] = ()
    """A LoRA, or a list of them, that are added to the weights at load, in order."""

    embeddings: tuple[EmbeddingSource, ...] = ()
    """Textual inversions, each with its token; a model with some has text encoders of its own."""

    noise_schedule: NoiseScheduleOverrides = NoiseScheduleOverrides()
    """How the denoising loop samples."""

    num_inference_steps: StepRange = StepRange()
    """Numbers of denoise steps that the checkpoint was made for."""

    guidance_scale: GuidanceRange = GuidanceRange()
    """Guidance scales that make sense for it."""

    size: SizeRange = SizeRange()
    """Image sizes."""

    preview: PreviewFactors | None = None
    """Without it the model sends no previews."""

    known_words: tuple[str, ...] | None = None
    """The words that the model knows, in lower case, where it was trained on few: a prompt
    without any of them gets a warning. Not set: those of the `model.yaml` of a local base,
    whose text encoders read the prompt. Empty: no limit."""

    @field_validator("lora", mode="before")
    @classmethod
    def _one_or_a_list(cls, lora: Any) -> Any:
        if lora is None:
            return ()
        return lora if isinstance(lora, list | tuple) else (lora,)

    @field_validator("embeddings")
    @classmethod
    def _tokens_apart(cls, embeddings: tuple[EmbeddingSource, ...]) -> tuple[EmbeddingSource, ...]:
        tokens = [embedding.token for embedding in embeddings]
        for token in tokens:
            if sum(token in other for other in tokens) > 1:
                raise ValueError(f"the token {token!r} is part of another one")
        return embeddings

    @field_validator("known_words")
    @classmethod
    def _words_as_prompts_have_them(
        cls, known_words: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        wrong = [word for word in known_words or () if words_in(word) != [word]]
        if wrong:
            raise ValueError(
                f"single words in lower case, of letters and digits alone; not {', '.join(wrong)}"
            )
        return known_words
