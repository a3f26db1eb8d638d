"""What a generation has cost so far: its bill, and what its record says of times and rows."""

import time
from dataclasses import dataclass, field

from leyden_server.generations.events import Bill, ImageBill, StepBill
from leyden_server.generations.parameters import GenerationParameters
from leyden_server.stages.contract import DecodedImage, StepDone

__all__ = ["Costs"]


@dataclass(slots=True)
class _ImageCost:
    """What one image has cost so far."""

    steps: list[StepBill] = field(default_factory=list)
    vae_decode_s: float = 0.0
    image_encode_s: float = 0.0
    denoiser_replica: str = ""
    vae_replica: str = ""

    def bill(self, index: int) -> ImageBill:
        """Return it as the summary shows it."""
        return ImageBill(
            index,
            tuple(self.steps),
            self.vae_decode_s,
            self.image_encode_s,
            self.denoiser_replica,
            self.vae_replica,
        )


class Costs:
    """Times in seconds; those that are None have not come to an end."""

    def __init__(self, parameters: GenerationParameters) -> None:
        """Begin as the request is accepted."""
        self.retries = 0
        """How many times a stage was run again, because a replica died."""
        self.queue_s: float | None = None
        """From acceptance to the first denoise step, less the encoding."""
        self.text_encode_s: float | None = None
        self.denoise_s: float | None = None
        """From the first step's start to the last step's end."""
        self.decode_s: float | None = None
        """From there until all images were there."""
        self.total_s: float | None = None
        """From acceptance until the bill was made."""
        self._accepted_s = time.monotonic()
        self._began_s = self._denoised_s = 0.0
        self._text_encoder_replica = ""
        self._rows_per_step = parameters.rows
        self._steps = parameters.sampling.num_inference_steps
        self._images = [_ImageCost() for _ in range(parameters.image_count)]
        self._handed: set[int] = set()
        self._denoised: set[int] = set()
        self._decoded: set[int] = set()

    @property
    def unet_rows(self) -> int:
        """Rows of the UNet that the steps took so far."""
        return self._rows_per_step * sum(len(image.steps) for image in self._images)

    @property
    def spared_rows(self) -> int:
        """Rows of the images that no engine was asked for."""
        return self._rows_per_step * self._steps * (len(self._images) - len(self._handed))

    @property
    def has_left_its_engine(self) -> bool:
        """Whether an engine was asked for an image that it has not finished."""
        return self._handed != self._denoised

    def elapsed_s(self) -> float:
        """Return the seconds since acceptance."""
        return time.monotonic() - self._accepted_s

    def encoded(self, duration_s: float, replica: str) -> None:
        """Note that all prompts are encoded."""
        self.text_encode_s, self._text_encoder_replica = duration_s, replica

    def handed(self, index: int) -> None:
        """Note that an engine is asked for an image."""
        self._handed.add(index)

    def started(self, index: int, replica: str) -> None:
        """Note that an image's first step begins."""
        self._images[index].denoiser_replica = replica
        if self.queue_s is None:
            self._began_s = time.monotonic()
            self.queue_s = self.elapsed_s() - (self.text_encode_s or 0.0)

    def stepped(self, index: int, step: StepDone) -> bool:
        """Note a step; return False where it was noted before, as before a replica died."""
        steps = self._images[index].steps
        if step.step <= len(steps):
            return False
        steps.append(StepBill(step.duration_s, step.batch_rows))
        return True

    def denoised(self, index: int) -> None:
        """Note that an image's last step has ended."""
        self._denoised.add(index)
        if len(self._denoised) == len(self._images):
            self._denoised_s = time.monotonic()
            self.denoise_s = self._denoised_s - self._began_s

    def decoded(self, index: int, image: DecodedImage) -> None:
        """Note that an image is there."""
        cost = self._images[index]
        cost.vae_decode_s, cost.image_encode_s = image.vae_decode_s, image.image_encode_s
        cost.vae_replica = image.replica
        self._decoded.add(index)
        if len(self._decoded) == len(self._images):
            self.decode_s = time.monotonic() - self._denoised_s

    def denoiser_replica(self, index: int) -> str:
        """Return which replica denoises an image; empty before it has said so."""
        return self._images[index].denoiser_replica

    def bill(self, gateway_replica: str) -> Bill:
        """Return it as the summary shows it: the generation is done."""
        self.total_s = self.elapsed_s()
        return Bill(
            queue_s=self.queue_s or 0.0,
            text_encode_s=self.text_encode_s or 0.0,
            total_s=self.total_s,
            text_encoder_replica=self._text_encoder_replica,
            gateway_replica=gateway_replica,
            images=tuple(image.bill(index) for index, image in enumerate(self._images)),
        )
