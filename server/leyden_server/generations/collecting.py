"""Asks engines for what they have counted of images that left, since no answer brings it."""

import asyncio
from collections.abc import Callable

from leyden_server.errors import RequestError
from leyden_server.generations.served_model import ServedModel
from leyden_server.stages.tally import EngineTally

__all__ = ["Collecting"]


class Collecting:
    """One question at a time for each model, however many images leave meanwhile."""

    def __init__(self, tell: Callable[[str, EngineTally], None]) -> None:
        """`tell` is called with a model's name and what its engine has counted."""
        self._tell = tell
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()

    def ask(self, served: ServedModel) -> None:
        """Ask a model's engine, of which an image has just left; returns at once."""
        name = served.model.name
        self._again.add(name)
        if name not in self._asking or self._asking[name].done():
            self._asking[name] = asyncio.create_task(self._ask(name, served))

    def close(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()

    async def _ask(self, name: str, served: ServedModel) -> None:
        while name in self._again:
            self._again.discard(name)
            try:
                tally = await served.denoiser.tally()
            except RequestError:
                return  # a replica that is gone has taken its numbers along
            if tally is not None:
                self._tell(name, tally)
