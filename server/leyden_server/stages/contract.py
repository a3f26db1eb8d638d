"""What crosses between the Gateway and the stages. Tensors travel as float32 numpy arrays.

The Gateway fills each request; the stage that answers fills each result.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leyden_server.model_repository.entry import SolverName

__all__ = [
    "DecodeRequest",
    "DecodedImage",
    "DenoiseRequest",
    "DenoiseStarted",
    "Denoised",
    "DenoiserInfo",
    "EncodedPrompt",
    "EngineStats",
    "FloatArray",
    "ImageFormat",
    "PreviewImage",
    "PreviewRequest",
    "StageInfo",
    "StepDone",
]

FloatArray = NDArray[np.float32]
ImageFormat = str  # "PNG", "JPEG" or "WEBP": Pillow's names


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A replica that is loaded and warmed up."""

    replica: str


@dataclass(frozen=True, slots=True)
class DenoiserInfo:
    """A Denoiser replica that is loaded and warmed up."""

    replica: str
    revision: str
    """A digest of the UNet's weight files, and of a LoRA and its scale: `weights_digest`."""
    batch_row_caps: dict[int, int]
    """Most rows that pay, by latent pixels (height times width), as the warm-up measured."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """One prompt through both text encoders."""

    prompt_embeds: FloatArray
    """(77, D): both encoders' hidden_states[-2], side by side."""
    pooled_prompt_embeds: FloatArray
    """(P,): text_encoder_2's pooled output."""
    token_count: int
    """Tokens before the cut, start and end included; the larger tokenizer's count."""
    truncated: bool
    replica: str

    def zeroed(self) -> "EncodedPrompt":
        """Return zeros of the same shape: SDXL's encoding of no negative prompt."""
        return replace(
            self,
            prompt_embeds=np.zeros_like(self.prompt_embeds),
            pooled_prompt_embeds=np.zeros_like(self.pooled_prompt_embeds),
        )


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """Which previews to make."""

    size_px: int
    """Longer side; 0 is one pixel a latent."""
    every_steps: int
    format: ImageFormat


@dataclass(frozen=True, slots=True)
class DenoiseRequest:
    """One image's denoising loop."""

    request_id: str
    image_index: int
    seed: int
    width_px: int
    height_px: int
    num_inference_steps: int
    guidance_scale: float
    solver: SolverName
    prompt: EncodedPrompt
    negative_prompt: EncodedPrompt | None
    """None: zeros, where guidance is on; unused, where it is off."""
    timeout_s: float | None
    """Time left of the client's deadline when this was sent."""
    preview: PreviewRequest | None

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the request has two rows."""
        return self.guidance_scale > 1


@dataclass(frozen=True, slots=True)
class DenoiseStarted:
    """The engine took the image into its first batch."""

    replica: str


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """An encoded preview."""

    data: bytes
    format: ImageFormat
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """One denoise step of one image ended."""

    step: int
    """From 1."""
    timestep: float
    sigma: float
    duration_s: float
    batch_rows: int
    preview: PreviewImage | None


@dataclass(frozen=True, slots=True)
class Denoised:
    """The last step ended."""

    latents: FloatArray
    """(C, H / 8, W / 8)."""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters of a Denoiser replica since its start (warm-up not counted)."""

    unet_rows: int
    unet_batches: int
    retired: int
    """Images whose denoising loop ended."""
    aborted: int
    """Images that left early: cancelled, or past their deadline."""
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """Latents to be made an encoded image."""

    latents: FloatArray
    format: ImageFormat
    quality: int
    """Of JPEG and WebP, 1 … 100."""
    parameters: dict[str, object]
    """What made the image; the file carries it as JSON."""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An encoded image."""

    data: bytes
    width_px: int
    height_px: int
    vae_decode_s: float
    image_encode_s: float
    replica: str
