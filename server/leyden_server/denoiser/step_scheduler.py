"""Which images share the next denoise step. Policy only: no torch, no threads, no clock."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from leyden_server.service_order import ServiceOrder

__all__ = ["BatchKey", "PayingRows", "Schedulable", "StepScheduler"]


@dataclass(frozen=True, slots=True)
class BatchKey:
    """Rows with equal keys may share a UNet run."""

    latent_shape: tuple[int, int, int]
    """(C, H / 8, W / 8)."""
    dtype: str
    conditioning: tuple[int, int, int]
    """Tokens and width of prompt_embeds, width of pooled_prompt_embeds."""
    adapters: tuple[str, ...] = ()
    """What the UNet's weights are changed by for these rows, in order."""

    @property
    def latent_pixels(self) -> int:
        """Height times width of the latents."""
        return self.latent_shape[1] * self.latent_shape[2]


PayingRows = Callable[[BatchKey, int], int]
"""Of so many rows of a key that are there, how many the next batch is to have."""


class Schedulable(Protocol):
    """What the policy looks at."""

    @property
    def batch_key(self) -> BatchKey:
        """What it may share a batch with."""

    @property
    def rows(self) -> int:
        """UNet rows that one step takes; they are never split."""

    @property
    def order(self) -> ServiceOrder:
        """Who goes first."""


Image = TypeVar("Image", bound=Schedulable)


class StepScheduler(Generic[Image]):
    """Keeps the waiting and the running images and picks each step's batch.

    The image that is first in the order of service leads, and images with its batch key join
    it, in that order, up to the rows that pay of those that are there. The order itself lets
    nothing be passed over for ever, so every image leads in the end: rare shapes do not starve.
    """

    def __init__(self, paying_rows: PayingRows) -> None:
        """`paying_rows` gives, for a key and so many rows of it that are there, those that pay."""
        self._paying_rows = paying_rows
        self._waiting: list[Image] = []
        self._running: list[Image] = []

    @property
    def waiting(self) -> tuple[Image, ...]:
        """Images that no step has run for."""
        return tuple(self._waiting)

    @property
    def running(self) -> tuple[Image, ...]:
        """Images between their first and their last step."""
        return tuple(self._running)

    def images(self) -> Iterable[Image]:
        """All images, in no particular order."""
        return (*self._running, *self._waiting)

    def add(self, image: Image) -> None:
        """Take an image into waiting."""
        self._waiting.append(image)

    def remove(self, image: Image) -> None:
        """Forget an image that is done or has left."""
        (self._running if image in self._running else self._waiting).remove(image)

    def schedule(self, now_s: float) -> tuple[list[Image], list[Image]]:
        """Return the next step's batch, and those in it that were waiting until now.

        `now_s` is the monotonic time.
        """
        in_order = sorted(self.images(), key=lambda image: image.order.key(now_s))
        if not in_order:
            return [], []
        batch = self._of_those_alike(in_order)
        admitted = [image for image in batch if image in self._waiting]
        for image in admitted:
            self._waiting.remove(image)
            self._running.append(image)
        return batch, admitted

    def _of_those_alike(self, in_order: Sequence[Image]) -> list[Image]:
        """Return the first image and those with its key that join it; all are in order."""
        leader = in_order[0]
        alike = [image for image in in_order if image.batch_key == leader.batch_key]
        there = sum(image.rows for image in alike)
        most = self._paying_rows(leader.batch_key, there)
        batch: list[Image] = []
        rows = 0
        for image in alike:
            # An image of more rows than pay runs them alone.
            if not batch or rows + image.rows <= most:
                batch.append(image)
                rows += image.rows
        return batch
