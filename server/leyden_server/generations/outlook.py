"""What one model's line comes to now, for those who look at the server from outside."""

import time
from dataclasses import dataclass

from leyden_server.generations.line import Line
from leyden_server.generations.place import Place
from leyden_server.service_order import DEFAULT_PRIORITY, ServiceOrder

__all__ = ["Outlook", "outlook"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Of one model, at one Gateway."""

    waiting_requests: int
    """Of which no denoise step has begun."""
    waiting_images: int
    """For which no denoise step has begun."""
    running_images: int
    """Between their first and their last denoise step."""
    open_images: int
    """Of admitted requests that are not all sent, wherever they are."""
    expected_wait_s: float | None
    """Of a request of one image and the default priority; None: nothing is known yet."""


def outlook(line: Line) -> Outlook:
    """Return it; the line stays as it is."""
    places = line.places()
    images = [image for place in places for image in place.images]
    newcomer = Place(line, ServiceOrder(DEFAULT_PRIORITY, time.monotonic()), 1, 1, 1)
    _, wait_s = line.place_of(newcomer)
    return Outlook(
        waiting_requests=sum(place.wants_to_know for place in places),
        waiting_images=line.waiting_images,
        running_images=sum(image.started and not image.done for image in images),
        open_images=line.open_images,
        expected_wait_s=wait_s,
    )
