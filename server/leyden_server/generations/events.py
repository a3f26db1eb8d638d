"""What happens to a generation, as frozen facts. Times are in seconds.

The order of a generation that succeeds:

    Queued            zero or more, until the first DenoiseProgress
    TextEncoded       once, before the first DenoiseProgress
    DenoiseProgress   for each image once a step; those of different images may interleave
    Image             once for each image, after its last DenoiseProgress; where it is large its
                      data is empty, and its ImageChunk events follow at once
    Summary           once, and last

A failure is the generation's end, never an event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from leyden_server.generations.parameters import RequestWarning
from leyden_server.sampling import Sampling
from leyden_server.stages.contract import ImageFormat, PreviewImage

__all__ = [
    "Bill",
    "DenoiseProgress",
    "Event",
    "Image",
    "ImageBill",
    "ImageChunk",
    "Queued",
    "StepBill",
    "Summary",
    "TextEncoded",
    "completes_image",
    "image_events",
    "payload_bytes",
]

CHUNK_ABOVE_BYTES = 3 * 2**20
"""gRPC clients stop at messages of 4 MiB unless told otherwise."""

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits for the denoiser."""

    position: int
    """Waiting images that come before this request's in the order of service."""
    expected_wait_s: float | None
    """Until the first denoise step; None: nothing is known yet."""


@dataclass(frozen=True, slots=True)
class TextEncoded:
    """The prompt is encoded."""

    token_count: int
    """Before it was cut."""
    truncated: bool


@dataclass(frozen=True, slots=True)
class DenoiseProgress:
    """A denoise step of one image ended."""

    image_index: int
    step: int
    """From 1."""
    total_steps: int
    timestep: float
    sigma: float
    elapsed_s: float
    """Since the request was accepted."""
    remaining_s: float
    """Until the image's last step, by the pace of its steps so far."""
    batch_rows: int
    preview: PreviewImage | None

    def without_preview(self) -> Self:
        """Return the same progress as who is late gets it."""
        return self if self.preview is None else replace(self, preview=None)


@dataclass(frozen=True, slots=True)
class Image:
    """An image is ready."""

    image_index: int
    seed: int
    format: ImageFormat
    width_px: int
    height_px: int
    size_bytes: int
    data: bytes
    """Empty where ImageChunk events bring it."""


@dataclass(frozen=True, slots=True)
class ImageChunk:
    """A part of a large image."""

    image_index: int
    offset_bytes: int
    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class StepBill:
    """What one denoise step cost."""

    duration_s: float
    batch_rows: int


@dataclass(frozen=True, slots=True)
class ImageBill:
    """What one image cost."""

    image_index: int
    steps: tuple[StepBill, ...]
    vae_decode_s: float
    image_encode_s: float
    denoiser_replica: str
    vae_replica: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What a generation cost, stage by stage."""

    queue_s: float
    """From acceptance to the first denoise step's start, less the text encoding."""
    text_encode_s: float
    total_s: float
    text_encoder_replica: str
    gateway_replica: str
    images: tuple[ImageBill, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The generation is done."""

    warnings: tuple[RequestWarning, ...]
    model: str
    model_revision: str
    retries: int
    sampling: Sampling
    """Of image 0."""
    bill: Bill


Event = Queued | TextEncoded | DenoiseProgress | Image | ImageChunk | Summary

_OF_IMAGES = (Image, ImageChunk)
"""Written out where it is asked for, the union would be made anew for each event."""


def payload_bytes(event: Event) -> int:
    """Return the bytes of an event that are worth counting: those of images."""
    return len(event.data) if isinstance(event, _OF_IMAGES) else 0


def completes_image(event: Event) -> bool:
    """Return whether an image is whole with this event."""
    return event.last if isinstance(event, ImageChunk) else bool(payload_bytes(event))


def image_events(announced: Image) -> Sequence[Image | ImageChunk]:
    """Return an image as one event, or announced and in chunks where it is large."""
    data = announced.data
    if len(data) <= CHUNK_ABOVE_BYTES:
        return [announced]
    return [
        replace(announced, data=b""),
        *(
            ImageChunk(
                image_index=announced.image_index,
                offset_bytes=offset,
                data=data[offset : offset + CHUNK_BYTES],
                last=offset + CHUNK_BYTES >= len(data),
            )
            for offset in range(0, len(data), CHUNK_BYTES)
        ),
    ]
