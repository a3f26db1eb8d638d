"""One request as its client saw it."""

from dataclasses import dataclass

from leyden_client.events import Bill

OK = "OK"
PROTOCOL_ERROR = "PROTOCOL_ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request that ended. Times are in seconds since the load began."""

    planned_s: float
    """When it was due. In a closed loop: when it was sent."""
    first_event_s: float | None
    """When its first event came; None: none came."""
    first_progress_s: float | None
    """When its first denoise step was reported; None: none was."""
    ended_s: float
    """When its last event, or its error, came."""
    images: int
    """Images that came."""
    num_inference_steps: int
    """Denoise steps that it asked for; 0: the model's default."""
    code: str
    """OK, the name of the gRPC status, or PROTOCOL_ERROR."""
    reason: str
    """The server's reason for an error; empty where it gave none."""
    bill: Bill | None
    """What it cost; None: it failed."""

    @property
    def ok(self) -> bool:
        """Whether all of it came."""
        return self.code == OK

    @property
    def rejected(self) -> bool:
        """Whether the server refused it because it is full, or too late for its deadline."""
        return self.code == "RESOURCE_EXHAUSTED"

    @property
    def latency_s(self) -> float:
        """From when it was due to its end.

        In an open loop a request that was sent late, because this machine or the connection
        was held up, has waited all the same: counting from when it was sent would leave out
        just the waits that the server caused (coordinated omission).
        """
        return self.ended_s - self.planned_s
