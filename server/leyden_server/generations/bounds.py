"""How much image data a Gateway holds: for readers that are slow, and for those to come."""

from collections.abc import Iterable, Iterator

from leyden_server.errors import ReaderTooSlowError
from leyden_server.generations.event_log import Reading
from leyden_server.generations.home import Home

__all__ = ["drop_oldest_images", "too_much_unread"]


def too_much_unread(
    homes: Iterable[Home], most_bytes: int
) -> Iterator[tuple[Home, Reading, ReaderTooSlowError]]:
    """Yield whom to cut off, whoever holds most first, until what is unread is within bounds."""
    unread = {reading: (reading.unread_bytes, home) for home in homes for reading in home.callers}
    total = sum(size for size, _ in unread.values())
    while total > most_bytes:
        slowest = max(unread, key=lambda reading: unread[reading][0])
        size, home = unread.pop(slowest)
        total -= size
        yield (
            home,
            slowest,
            ReaderTooSlowError(
                f"{size} bytes of images were left unread, where all readers together may leave "
                f"{most_bytes}",
                {"max_unsent_bytes": str(most_bytes)},
            ),
        )


def drop_oldest_images(homes: Iterable[Home], most_bytes: int) -> None:
    """Drop the images of the generations that ended first, until the rest is within bounds.

    Who asks for them later is told that they have expired.
    """
    kept = sorted((home for home in homes if home.is_idle), key=lambda home: home.ended_s)
    total = sum(home.log.payload_bytes for home in kept)
    for home in kept:
        if total <= most_bytes:
            return
        total -= home.log.payload_bytes
        home.log.drop_payload()
