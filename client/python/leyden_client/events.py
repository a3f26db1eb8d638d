"""What a generation reports: its events in their order, and the whole at its end.

    Queued            zero or more, until the first DenoiseProgress
    TextEncoded       once, before the first DenoiseProgress
    DenoiseProgress   for each image once a step; those of different images may interleave
    Image             once for each image, whole, after its last DenoiseProgress
    Summary           once, and last

Times are in seconds, named `*_s`.
"""

import os
from dataclasses import dataclass, field
from typing import TypeAlias

from leyden_client._files import write_atomically
from leyden_client.options import OutputFormat, Solver


@dataclass(frozen=True, slots=True, kw_only=True)
class _EventBase:
    """What every event has."""

    request_id: str
    """The request's id, the same in every event."""
    event_index: int
    """Index of this event in the server's stream; of an image in chunks, its last chunk's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(_EventBase):
    """The request was accepted and waits for the denoiser."""

    position: int
    """Number of images of earlier requests that wait too; 0: none.

    One with an earlier deadline may start before its turn.
    """
    expected_wait_s: float | None
    """Expected time until the first denoise step. None: nothing is known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoded(_EventBase):
    """The prompt is encoded."""

    token_count: int
    """Length of the prompt in tokens, before it was cut."""
    truncated: bool
    """Whether the prompt was cut at the text encoder's length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A small picture of the denoised latents as estimated now; not a VAE decode."""

    data: bytes = field(repr=False)
    """The encoded picture."""
    format: OutputFormat
    """Encoding of `data`."""
    width_px: int
    """Width in pixels."""
    height_px: int
    """Height in pixels."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to `path`, whole or not at all; raises `OSError`."""
        write_atomically(path, self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseProgress(_EventBase):
    """A denoise step of one image ended."""

    image_index: int
    """Index of the image, from 0."""
    step: int
    """The step that ended, from 1 to `total_steps`."""
    total_steps: int
    """Number of denoise steps of this image."""
    timestep: float
    """Training timestep at which this step ran the UNet, from 999 (noise) down to 0."""
    sigma: float
    """Noise level (standard deviation) at which this step started."""
    elapsed_s: float
    """Time since the request was accepted."""
    remaining_s: float
    """Estimated time until this image's last denoise step ends; decoding is not in it."""
    batch_rows: int
    """Rows of the UNet batch that this step shared, this image's own among them."""
    preview: Preview | None
    """Where one was asked for at this step and this reader is fast enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image(_EventBase):
    """An image is ready; it is always whole, however it travelled."""

    image_index: int
    """Index of the image, from 0."""
    seed: int
    """Seed that gives this image again."""
    format: OutputFormat
    """Encoding of `data`."""
    width_px: int
    """Width in pixels."""
    height_px: int
    """Height in pixels."""
    data: bytes = field(repr=False)
    """The encoded image."""

    @property
    def size_bytes(self) -> int:
        """Length of the encoded image in bytes."""
        return len(self.data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the image to `path`, whole or not at all; raises `OSError`."""
        write_atomically(path, self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWarning:
    """Something about a request that its sender should know, though it was served."""

    reason: str
    """What kind of warning, in UPPER_SNAKE_CASE."""
    field: str
    """The request's field that the warning is about."""
    message: str
    """The warning in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBill:
    """What one denoise step cost."""

    duration_s: float
    """Time that the step took on the device, for the whole batch."""
    batch_rows: int
    """Rows of the UNet batch; padding is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBill:
    """What one image cost."""

    image_index: int
    """Index of the image, from 0."""
    steps: tuple[StepBill, ...]
    """The denoise steps, first to last."""
    vae_decode_s: float
    """VAE decode, with the wait for it."""
    image_encode_s: float
    """Encoding of the pixels as PNG, JPEG or WebP."""
    denoiser_replica: str
    """Replica that ran the denoise steps."""
    image_decoder_replica: str
    """Replica that decoded and encoded the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a generation cost, stage by stage."""

    queue_s: float
    """From acceptance to the first denoise step's start, less the text encoding."""
    text_encode_s: float
    """Text encoding."""
    total_s: float
    """From acceptance to the summary."""
    text_encoder_replica: str
    """Replica that encoded the text."""
    gateway_replica: str
    """Gateway replica that served the request."""
    images: tuple[ImageBill, ...]
    """The share of each image, in the order of their indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(_EventBase):
    """The generation is done: what was used, what was ignored, and what it cost."""

    warnings: tuple[RequestWarning, ...]
    """What was ignored, cut or rounded; empty when all was as asked."""
    model: str
    """Name of the model that ran."""
    model_revision: str
    """What identifies the model's UNet: a digest of its weight files, LoRA and scale."""
    retries: int
    """How many times a stage was run again because a replica died."""
    width_px: int
    """Width of the images in pixels."""
    height_px: int
    """Height of the images in pixels."""
    num_inference_steps: int
    """Number of denoise steps of each image."""
    guidance_scale: float
    """The guidance scale that was applied."""
    solver: Solver
    """The rule of a denoise step that was applied."""
    bill: Bill
    """What the generation cost, stage by stage."""


Event: TypeAlias = Queued | TextEncoded | DenoiseProgress | Image | Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A generation that is done."""

    request_id: str
    """The request's id: the one that was given, or that the server drew."""
    images: tuple[Image, ...]
    """The images, in the order of their indices."""
    summary: Summary
    """What was used, what was ignored, and what it cost."""
