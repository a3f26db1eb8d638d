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

    def __init__(self, admission: "Admission", images: int) -> None:
        self._admission = admission
        self.images = images
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
        ahead = self._admission.ahead_of(self)
        return ahead, self._admission.expected_wait_s(ahead)

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
        self.capacity = 1
        """Images that one replica denoises side by side; set once the model is loaded."""
        self._max_waiting_images = max_waiting_images
        self._max_open_images = max_open_images
        self._expected_start_s = expected_start_s
        self._tickets: list[Ticket] = []
        self._mean_loop_s: float | None = None

    def admit(self, images: int, timeout_s: float | None = None) -> Ticket:
        """Take places for so many images, whose client waits for `timeout_s` seconds.

        Raises:
            OverloadedError: they would be more than may wait or be open, or would not even
                start in time.

        """
        waiting = sum(ticket.waiting for ticket in self._tickets)
        open_images = sum(ticket.images for ticket in self._tickets)
        wait_s = self.expected_wait_s(waiting)
        refuse = partial(_overloaded, retry_after_s=UNKNOWN_WAIT_S if wait_s is None else wait_s)
        if waiting + images > self._max_waiting_images:
            most = self._max_waiting_images
            raise refuse(
                "QUEUE_FULL", f"{waiting} of at most {most} images wait", "max_waiting_images", most
            )
        if open_images + images > self._max_open_images:
            most = self._max_open_images
            raise refuse(
                "QUEUE_FULL",
                f"{open_images} of at most {most} images are being made or sent",
                "max_open_images",
                most,
            )
        if timeout_s is not None and wait_s is not None and wait_s > timeout_s:
            raise refuse(
                "DEADLINE_CANNOT_BE_MET",
                f"the expected wait of {wait_s:.1f} s is longer than the deadline allows",
                "timeout_s",
                round(timeout_s, 3),
            )
        ticket = Ticket(self, images)
        self._tickets.append(ticket)
        return ticket

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many images of earlier requests wait."""
        earlier = self._tickets[: self._tickets.index(ticket)]
        return sum(other.waiting for other in earlier)

    def expected_wait_s(self, ahead: int) -> float | None:
        """Return how long so many images take to start, at the pace of recent loops.

        Where the batch has room they start at the next step, which is at once. Beyond
        that, by Little's law: with r images in their loops, which take d seconds each,
        one leaves and lets another start every d / r seconds. Stages that rest have to
        start before all that.
        """
        start_s = self._expected_start_s()
        running = sum(ticket.running for ticket in self._tickets)
        room = max(0, self.capacity - running)
        if ahead < room or start_s is None:
            return start_s
        if self._mean_loop_s is None:
            return None
        return start_s + (ahead - room + 1) * self._mean_loop_s / max(1, running)

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
