"""An admitted request's place in the line: its images, and what becomes of them."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leyden_server.service_order import ServiceOrder

if TYPE_CHECKING:
    from leyden_server.generations.line import Line

__all__ = ["Place", "PlacedImage"]


@dataclass(slots=True, eq=False)
class PlacedImage:
    """One image of a request on its way through the denoiser."""

    place: "Place"
    rows: int
    """UNet rows of each of its steps."""
    steps_left: int
    started: bool = False
    """Whether its first denoise step has begun."""
    done: bool = False
    """Whether its last denoise step has ended."""
    turn: "asyncio.Future[None] | None" = None
    """Where it waits to be handed on."""


class Place:
    """An admitted request's place: its images, and what becomes of them."""

    def __init__(
        self, line: "Line", order: ServiceOrder, images: int, rows_per_image: int, steps: int
    ) -> None:
        self.order = order
        self.rows_per_image = rows_per_image
        self.images = [PlacedImage(self, rows_per_image, steps) for _ in range(images)]
        self.waiting = images
        """Images that no denoise step has begun for."""
        self.told: tuple[int, float | None] = (0, None)
        """The position and the expected wait that its client was last told, or is to be told."""
        self.is_open = True
        """Whether it has not left."""
        self.on_move: Callable[[int, float | None], None] = lambda _position, _wait_s: None
        """Called with `now()`'s answer when the position has changed."""
        self._line = line
        self._steps = steps
        self._admitted_s = time.monotonic()

    @property
    def wants_to_know(self) -> bool:
        """Whether its client is told where it stands: until the first step has begun."""
        return self.waiting == len(self.images)

    def now(self) -> tuple[int, float | None]:
        """Return the waiting images ahead, and the expected wait in seconds where it is known."""
        self.told = self._line.place_of(self)
        return self.told

    async def turn(self, index: int) -> None:
        """Wait until an image may be handed to the denoiser."""
        await self._line.turn(self.images[index])

    def started(self, index: int) -> None:
        """Note that an image's first denoise step begins."""
        self._line.started(self.images[index])

    def stepped(self, index: int, steps_left: int, duration_s: float) -> None:
        """Note that a denoise step of an image ended, and how long it took."""
        self.images[index].steps_left = steps_left
        self._line.learn_step(duration_s)

    def restarted(self, index: int) -> None:
        """Note that an image goes back to waiting, because its replica died."""
        image = self.images[index]
        image.steps_left = self._steps
        self._line.restarted(image)

    def finished(self, index: int) -> None:
        """Note that an image's last denoise step ended."""
        self._line.finished(self.images[index])

    def leave(self) -> None:
        """Give back everything; harmless where it is called again."""
        self._line.remove(self, time.monotonic() - self._admitted_s)
