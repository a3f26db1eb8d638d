"""Bounded waiting: who may wait, in which place, and for about how long.

One line a model at each Gateway replica. An image waits from its admission until its first
denoise step starts; the places ahead of a request are those of earlier requests.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from leyden_server.errors import OverloadedError

__all__ = ["Admission", "Ticket"]

UNKNOWN_WAIT_S = 1.0
"""When to come back, where no generation has shown its pace yet."""

SHORTEST_WAIT_S = 0.1

SMOOTHING = 0.2
"""Weight of the newest generation in the running mean of their durations."""


class Ticket:
    """One admitted request's places."""

    def __init__(self, admission: "Admission", images: int, rows_per_image: int) -> None:
        self._admission = admission
        self.images = images
        self.rows_per_image = rows_per_image
        self._waiting = images
        self._running: dict[int, float] = {}
        self._moved = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Images of this request that no denoise step has started for."""
        return self._waiting

    @property
    def running(self) -> int:
        """Images of this request in the denoising loop."""
        return len(self._running)

    def place(self) -> tuple[int, float | None]:
        """Return the images ahead, and the expected wait in seconds where it is known."""
        earlier = self._admission.earlier_than(self)
        rows_ahead = sum(other.waiting * other.rows_per_image for other in earlier)
        wait_s = self._admission.expected_wait_s(rows_ahead, self.rows_per_image)
        return sum(other.waiting for other in earlier), wait_s

    async def places(self) -> AsyncIterator[tuple[int, float | None]]:
        """Yield `place()` now and whenever fewer are ahead, until none is."""
        last: int | None = None
        while True:
            self._moved.clear()
            ahead, expected_wait_s = self.place()
            if ahead != last:
                yield ahead, expected_wait_s
                last = ahead
            if ahead == 0:
                return
            await self._moved.wait()

    def started(self, image_index: int) -> None:
        """Note that an image's first denoise step starts."""
        self._waiting -= 1
        self._running[image_index] = time.monotonic()
        self._admission.moved()

    def restarted(self, image_index: int) -> None:
        """Note that an image goes back to waiting, because its replica died."""
        if self._running.pop(image_index, None) is not None:
            self._waiting += 1

    def finished(self, image_index: int) -> None:
        """Note that an image's last denoise step ended."""
        self._admission.learn(time.monotonic() - self._running.pop(image_index))

    def leave(self) -> None:
        """Give back every place; harmless where it is called again."""
        self._admission.remove(self)

    def wake(self) -> None:
        """Let `places` look again."""
        self._moved.set()


class Admission:
    """The line of one model."""

    def __init__(
        self,
        max_waiting_images: int,
        max_open_images: int,
        expected_start_s: Callable[[], float | None] = lambda: 0.0,
    ) -> None:
        """`expected_start_s`: in how many seconds the stages run; None where not known."""
        self.row_cap = 1
        """UNet rows that one replica computes side by side; set once the model is loaded."""
        self._max_waiting_images = max_waiting_images
        self._max_open_images = max_open_images
        self._expected_start_s = expected_start_s
        self._tickets: list[Ticket] = []
        self._mean_loop_s: float | None = None

    def admit(
        self, images: int, timeout_s: float | None = None, *, rows_per_image: int = 1
    ) -> Ticket:
        """Take places for so many images, whose client waits for `timeout_s` seconds.

        Args:
            images: of the request.
            timeout_s: how long its client waits; None: for ever.
            rows_per_image: of the UNet in each denoise step; guidance makes it two.

        Raises:
            OverloadedError: they would be more than may wait or be open, or would not even
                start in time.

        """
        waiting = sum(ticket.waiting for ticket in self._tickets)
        open_images = sum(ticket.images for ticket in self._tickets)
        rows_ahead = sum(ticket.waiting * ticket.rows_per_image for ticket in self._tickets)
        wait_s = self.expected_wait_s(rows_ahead, rows_per_image)
        refuse = partial(_overloaded, retry_after_s=UNKNOWN_WAIT_S if wait_s is None else wait_s)
        if waiting + images > self._max_waiting_images:
            most = self._max_waiting_images
            raise refuse(
                "QUEUE_FULL", f"{waiting} of at most {most} images wait", "max_waiting_images", most
            )
        if open_images + images > self._max_open_images:
            most = self._max_open_images
            # The denoiser may well have room: it is the decoder or the readers that are slow.
            raise _overloaded(
                "QUEUE_FULL",
                f"{open_images} of at most {most} images are being made or sent",
                "max_open_images",
                most,
                retry_after_s=max(UNKNOWN_WAIT_S, wait_s or 0),
            )
        if timeout_s is not None and wait_s is not None and wait_s > timeout_s:
            raise refuse(
                "DEADLINE_CANNOT_BE_MET",
                f"the expected wait of {wait_s:.1f} s is longer than the deadline allows",
                "timeout_s",
                round(timeout_s, 3),
            )
        ticket = Ticket(self, images, rows_per_image)
        self._tickets.append(ticket)
        return ticket

    def earlier_than(self, ticket: Ticket) -> list[Ticket]:
        """Return the requests that were admitted before this one."""
        return self._tickets[: self._tickets.index(ticket)]

    def expected_wait_s(self, rows_ahead: int, rows: int) -> float | None:
        """Return how long an image of so many rows takes to start, at the pace of recent loops.

        Where the batch has room for it behind those ahead, it starts at the next step, which
        is at once. Beyond that, by Little's law: with r rows in their loops, which take d
        seconds each, one leaves and lets another start every d / r seconds. Stages that rest
        have to start before all that.
        """
        start_s = self._expected_start_s()
        running = sum(ticket.running * ticket.rows_per_image for ticket in self._tickets)
        # Where none runs, one image does, however many rows it has.
        room = max(self.row_cap - running, 0 if running else rows)
        if rows_ahead + rows <= room or start_s is None:
            return start_s
        if self._mean_loop_s is None:
            return None
        return start_s + (rows_ahead + rows - room) * self._mean_loop_s / max(1, running)

    def learn(self, loop_s: float) -> None:
        """Note how long one image's denoising loop took."""
        if self._mean_loop_s is None:
            self._mean_loop_s = loop_s
        else:
            self._mean_loop_s += SMOOTHING * (loop_s - self._mean_loop_s)

    def remove(self, ticket: Ticket) -> None:
        """Forget a request."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            self.moved()

    def moved(self) -> None:
        """Tell those who wait that places may have changed."""
        for ticket in self._tickets:
            ticket.wake()


def _overloaded(
    reason: str, message: str, limit: str, value: float, *, retry_after_s: float
) -> OverloadedError:
    limits = {limit: str(value)}
    return OverloadedError(reason, message, limits, max(SHORTEST_WAIT_S, retry_after_s))
