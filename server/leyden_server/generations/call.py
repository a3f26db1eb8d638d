"""One call that is several generations, for those who count calls."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leyden_server.generations.records import RequestRecord

__all__ = ["Call"]


class Call:
    """Gathers the ends of its generations; whoever counts it is told once, of all of them."""

    def __init__(self) -> None:
        self._began: int | None = None
        self._ended: list[RequestRecord] = []
        self._count: Callable[[list[RequestRecord]], None] | None = None

    def began(self, generations: int) -> None:
        """Note how many generations it is, those that were refused among them; no more come."""
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
