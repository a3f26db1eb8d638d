"""What the statistics are told of the responses of one streamed request."""

import time
from typing import Literal

from leyden_server.generations.records import StreamedResponse
from leyden_server.generations.registry import Generations

__all__ = ["Part", "ResponseNotes"]

Part = Literal["compute_infer", "compute_output", ""]


class ResponseNotes:
    """Numbers the responses of a request, and takes their times."""

    def __init__(self, generations: Generations, model: str) -> None:
        self._generations = generations
        self._model = model
        self._index = 0
        self._since_s = time.monotonic()

    def sent(self, part: Part) -> None:
        """Note a response that was written; empty `part`: it had no outputs."""
        self._note("success" if part else "empty_response", part)

    def failed(self) -> None:
        """Note that the request's last response tells of a failure."""
        self._note("fail", "")

    def cancelled(self) -> None:
        """Note that the client has left before the last response."""
        self._note("cancel", "")

    def _note(
        self, outcome: Literal["success", "fail", "empty_response", "cancel"], part: Part
    ) -> None:
        now = time.monotonic()
        self._generations.responded(
            StreamedResponse(self._model, self._index, outcome, part, now - self._since_s)
        )
        self._index, self._since_s = self._index + 1, now
