"""One generation and all that belongs to it, from its acceptance to its being forgotten."""

import asyncio

from leyden_server.generations.account import Account
from leyden_server.generations.call import Call
from leyden_server.generations.event_log import EventLog, Reading, Unread
from leyden_server.generations.generation import Generation
from leyden_server.generations.line import Place
from leyden_server.generations.parameters import GenerationParameters, GenerationRequest
from leyden_server.generations.quota import Share
from leyden_server.generations.records import RequestRecord
from leyden_server.generations.served_model import Use
from leyden_server.generations.tracing import TraceContext

__all__ = ["Caller", "Home"]

NOBODY = Account()
NOTHING = Share(None, 0)


class Caller:
    """Who asks: what a handler knows of its call."""

    def __init__(
        self,
        peer: str,
        timeout_s: float | None = None,
        *,
        account: Account = NOBODY,
        method: str = "",
        protocol: str = "",
        trace: TraceContext | None = None,
        request_id: str = "",
    ) -> None:
        self.peer = peer
        self.timeout_s = timeout_s
        """What is left until the call's deadline; None: it has none."""
        self.account = account
        """Whose API key the call has, and what he may."""
        self.method = method
        """What was called, as "package.Service/Method"."""
        self.protocol = protocol
        """What he speaks; empty: the package of the method says it."""
        self.trace = trace
        """Whose trace the call belongs to; None: it names none."""
        self.request_id = request_id
        """What it calls its request, in a protocol where that is no name of a generation."""
        self.call: Call | None = None
        """What gathers its generations, where they are several; None: it is one."""


class Home:
    """A generation's request, events, watchers, place in the line, task and record."""

    def __init__(
        self,
        request: GenerationRequest,
        parameters: GenerationParameters,
        record: RequestRecord,
        unread: Unread,
        *,
        account: Account = NOBODY,
        share: Share = NOTHING,
    ) -> None:
        self.name = account.scoped(parameters.request_id)
        """Its request_id, with the key that it belongs to."""
        self.share = share
        """What it has taken of what its key may have."""
        self.request = request
        self.parameters = parameters
        self.record = record
        self.log = EventLog(
            parameters.request_id, keeps_payload=parameters.linger_s > 0, unread=unread
        )
        self.callers: dict[Reading, Caller] = {}
        """Those who watch now."""
        self.left = asyncio.Event()
        """Set while nobody watches."""
        self.place: Place | None = None
        """None until it is admitted."""
        self.generation: Generation | None = None
        self.use: Use | None = None
        """Its hold on the model; None until it is begun."""
        self.task: asyncio.Task[None] | None = None
        self.claim: asyncio.Task[str | None] | None = None
        """Asks whether another Gateway has the name; None where we drew it."""
        self.timer: asyncio.TimerHandle | None = None
        """Ends the lingering."""
        self.end_with: Exception | None = None
        """Why it was ended from outside, before its own end."""
        self.was_given_up = False
        """Whether it was ended because nobody watched it."""
        self.left_as = "CANCELLED"
        """How its last watcher left: the name of a gRPC code."""
        self.left_because: Exception | None = None
        """Why its last watcher was sent away; None: it was not."""
        self.ended_s = 0.0
        """Monotonic time of its end."""
        self.is_told = False
        """Whether the observers know how it ended."""
        record.request_id = parameters.request_id
        record.model = parameters.model.name
        record.image_count = parameters.image_count
        record.sampling = parameters.sampling
        record.linger_s = parameters.linger_s
        record.priority = parameters.priority

    @property
    def request_id(self) -> str:
        """The generation's name, as clients have it."""
        return self.parameters.request_id

    @property
    def lingers(self) -> bool:
        """Whether it goes on for a while when nobody watches."""
        return self.parameters.linger_s > 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.log.closed

    @property
    def can_be_joined(self) -> bool:
        """Whether its name cannot be another's: it runs, or has ended well and is kept."""
        return not self.log.closed or self.log.error is None

    @property
    def is_idle(self) -> bool:
        """Whether a server may stop with it: it has ended and nobody reads it."""
        return self.log.closed and not self.callers

    def finished_record(self) -> RequestRecord:
        """Return the record of what it cost, and of how it ended where that was its own end."""
        record, generation = self.record, self.generation
        if generation is not None:
            costs = generation.costs
            record.queue_s = costs.queue_s
            record.text_encode_s = costs.text_encode_s
            record.denoise_s = costs.denoise_s
            record.decode_s = costs.decode_s
            record.total_s = costs.total_s
            record.unet_rows = costs.unet_rows
            record.spared_rows = costs.spared_rows
            record.retries = costs.retries
        if self.was_given_up and self.lingers:
            record.code, record.reason = "CANCELLED", "NOBODY_WATCHED"
        elif self.was_given_up or not self.lingers:
            record.code = self.left_as
        else:
            record.code = "OK"
        return record
