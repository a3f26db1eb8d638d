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
    steps_left: int
    handed: bool = False
    """Whether the denoiser has it."""
    started: bool = False
    """Whether its first denoise step has begun."""
    done: bool = False
    """Whether its last denoise step has ended."""
    turn: "asyncio.Future[None] | None" = None
    """Where it waits to be handed on."""

    @property
    def rows(self) -> int:
        """UNet rows of each of its steps."""
        return self.place.rows_per_image


class Place:
    """An admitted request's place: its images, and what becomes of them."""

    def __init__(
        self, line: "Line", order: ServiceOrder, images: int, rows_per_image: int, steps: int
    ) -> None:
        self.order = order
        self.rows_per_image = rows_per_image
        self.images = [PlacedImage(self, steps) for _ in range(images)]
        self.on_move: Callable[[int, float | None], None] = lambda _position, _wait_s: None
        """Called with `now()`'s answer when the position has changed."""
        self._line = line
        self._steps = steps
        self._admitted_s = time.monotonic()
        self.told_position: int | None = None
        """What the client was last told; None: nothing yet."""

    @property
    def wants_to_know(self) -> bool:
        """Whether its client is told of a position, and no step has begun."""
        return self.told_position is not None and not any(image.started for image in self.images)

    @property
    def waiting(self) -> int:
        """Images that no denoise step has begun for."""
        return sum(not image.started for image in self.images)

    def now(self) -> tuple[int, float | None]:
        """Return the waiting images ahead, and the expected wait in seconds where it is known."""
        self.told_position, wait_s = self._line.place_of(self)
        return self.told_position, wait_s

    async def turn(self, index: int) -> None:
        """Wait until an image may be handed to the denoiser."""
        await self._line.turn(self.images[index])

    def started(self, index: int) -> None:
        """Note that an image's first denoise step begins."""
        self.images[index].started = True
        self._line.moved()

    def stepped(self, index: int, steps_left: int, duration_s: float) -> None:
        """Note that a denoise step of an image ended, and how long it took."""
        self.images[index].steps_left = steps_left
        self._line.learn_step(duration_s)

    def restarted(self, index: int) -> None:
        """Note that an image goes back to waiting, because its replica died."""
        image = self.images[index]
        image.handed = image.started = False
        image.steps_left = self._steps
        self._line.moved()

    def finished(self, index: int) -> None:
        """Note that an image's last denoise step ended."""
        image = self.images[index]
        image.done, image.steps_left = True, 0
        self._line.moved()

    def leave(self) -> None:
        """Give back everything; harmless where it is called again."""
        self._line.remove(self, time.monotonic() - self._admitted_s)
