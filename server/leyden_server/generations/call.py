"""One call that is several generations: counted as one, and let in as one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from leyden_server.generations.quota import Share

if TYPE_CHECKING:
    from leyden_server.generations.records import RequestRecord

__all__ = ["Call"]


class Call:
    """Gathers the ends of its generations; whoever counts it is told once, of all of them."""

    def __init__(self, images: int) -> None:
        """`images` are those of all its generations."""
        self._images = images
        self._share: Share | None = None
        self._began: int | None = None
        self._ended: list[RequestRecord] = []
        self._count: Callable[[list[RequestRecord]], None] | None = None

    def share(self, images: int, take: Callable[[int], Share]) -> Share:
        """Return one generation's share of what the key may have.

        The first has `take` take that of all, so that none begins where not all may.
        """
        if self._share is None:
            self._share = take(self._images)
        return self._share.part(images)

    def began(self, generations: int) -> None:
        """Note how many generations it is, those that were refused among them; no more come."""
        if self._share is not None:
            self._share.refund()  # of those that did not begin
        self._began = generations
        self._look()

    def ended(
        self, record: "RequestRecord", count: "Callable[[list[RequestRecord]], None]"
    ) -> None:
        """Note the end of one of them; `count` is called once all have ended."""
        self._ended.append(record)
        self._count = count
        self._look()

    def _look(self) -> None:
        if self._count is not None and self._began == len(self._ended):
            self._count(self._ended)
