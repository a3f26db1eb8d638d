"""What a reader learns from events."""

import grpc
from support.scripted_server import Fail

from leyden_client import (
    DenoiseProgress,
    Event,
    Image,
    Queued,
    Summary,
    TextEncoded,
)


def told(events: list[Event]) -> list[object]:
    """Say what a reader learns from events, without their indices."""
    said: list[object] = []
    for event in events:
        match event:
            case DenoiseProgress():
                said.append((event.image_index, event.step))
            case Image():
                said.append((event.image_index, event.data))
            case _:
                said.append(type(event))
    return said


WHOLE = [Queued, TextEncoded, (0, 1), (0, 2), (0, b"pixels"), Summary]


LOST = Fail(grpc.StatusCode.UNAVAILABLE, "Socket closed")
"""What gRPC itself says of a connection that broke: no reason, as no server said it."""
