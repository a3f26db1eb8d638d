"""How the house speaks of a request: to its observers and its trace, and to a defect's client."""

import uuid
from collections.abc import Callable, Sequence

from leyden_server.errors import RequestError, StageFailedError
from leyden_server.generations.home import Caller
from leyden_server.generations.notes import Notes
from leyden_server.generations.records import Observer, RequestRecord, StreamedResponse
from leyden_server.generations.tracing import Tracer
from leyden_server.stages.tally import EngineTally

__all__ = ["Telling"]

MAX_LOGGED_CHARS = 128
"""Of what a client calls its requests."""


class Telling:
    """Tells every observer, in the words that the wire has for an error."""

    def __init__(
        self,
        observers: Sequence[Observer],
        describe: Callable[[Exception], tuple[str, str, str]],
        tracer: Tracer,
    ) -> None:
        """`describe` gives the code, reason and message that records have of an error."""
        self._observers = observers
        self._describe = describe
        self._tracer = tracer

    def arrived(self, caller: Caller) -> RequestRecord:
        """Return the record of a request that has just come, and begin its trace."""
        record = RequestRecord(
            caller.peer,
            caller.timeout_s,
            method=caller.method,
            spoken=caller.protocol,
            caller_request_id=caller.request_id[:MAX_LOGGED_CHARS],
            key=caller.account.name,
            call=caller.call,
        )
        record.trace = self._tracer.begin(record, caller.trace)
        return record

    def refused(self, record: RequestRecord, error: Exception | None = None) -> None:
        """Tell of a request that has ended before there was a generation, and of the error."""
        record.was_refused = True
        self._put_error(record, error)
        record.trace.ended(record)
        for observer in self._observers:
            observer.refused(record)

    def admitted(self, record: RequestRecord) -> Notes:
        """Tell of a generation that begins; return what takes the notes of its work."""
        for observer in self._observers:
            observer.admitted(record)
        return Notes(record, self._observers)

    def ended(self, record: RequestRecord, error: Exception | None = None) -> None:
        """Tell of a generation's end, and of the error that was its end where there was one."""
        self._put_error(record, error)
        record.trace.ended(record)
        for observer in self._observers:
            observer.ended(record)

    def tallied(self, model: str, tally: EngineTally) -> None:
        """Tell of what an engine was asked for that it had counted."""
        for observer in self._observers:
            observer.tallied(model, tally)

    def sent(self, protocol: str, size_bytes: int) -> None:
        """Tell of a message that was sent to a client."""
        for observer in self._observers:
            observer.sent(protocol, size_bytes)

    def responded(self, response: StreamedResponse) -> None:
        """Tell of a response of a stream that has statistics."""
        for observer in self._observers:
            observer.responded(response)

    def known(self, error: Exception) -> RequestError:
        """Return an error that may be shown: a defect is logged, and then known by its id."""
        if isinstance(error, RequestError):
            return error
        error_id = str(uuid.uuid4())
        for observer in self._observers:
            observer.defect(error_id, error)
        return StageFailedError("Gateway", type(error).__name__, error_id)

    def _put_error(self, record: RequestRecord, error: Exception | None) -> None:
        if error is not None:
            record.code, record.reason, record.message = self._describe(error)
