"""The seam for traces: what a generation tells of its work, and to whom. No OpenTelemetry here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from leyden_server.stages.contract import DecodedImage, EncodedPrompt, StageRun, StepDone

if TYPE_CHECKING:
    from leyden_server.generations.records import RequestRecord

__all__ = ["UNTRACED", "NoTracer", "Trace", "TraceContext", "TraceNotes", "Tracer"]

Details = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Whose trace a call belongs to: the headers of W3C Trace Context, as they came."""

    traceparent: str
    tracestate: str = ""


class Trace(Protocol):
    """One request's trace. What it is told is never a prompt, nor an image."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; empty where the request is not traced."""

    def worked(self, what: str, run: StageRun, details: Details) -> None:
        """Take note of a stage's run for the request."""

    def waited(self, what: str, started_s: float, duration_s: float, details: Details) -> None:
        """Take note of a wait that is over; `started_s` is in seconds since the epoch."""

    def ended(self, record: "RequestRecord") -> None:
        """Take note of the request's end; nothing comes after it."""


class Tracer(Protocol):
    """Makes the traces of a Gateway. None of its methods waits for anything."""

    def begin(self, record: "RequestRecord", context: TraceContext | None) -> Trace:
        """Begin the trace of a request that came in `context`; None: it names no trace."""


class _Untraced:
    """The trace of a request that is not traced."""

    trace_id = ""

    def worked(self, what: str, run: StageRun, details: Details) -> None:
        """Do nothing."""

    def waited(self, what: str, started_s: float, duration_s: float, details: Details) -> None:
        """Do nothing."""

    def ended(self, record: "RequestRecord") -> None:
        """Do nothing."""


UNTRACED = _Untraced()


class NoTracer:
    """Traces nothing."""

    def begin(self, record: "RequestRecord", context: TraceContext | None) -> Trace:
        """Return the trace that takes no notes."""
        del record, context
        return UNTRACED


class TraceNotes:
    """Tells a trace what a generation's stages have done."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def encoded(self, *prompts: EncodedPrompt) -> None:
        """Note the encoding of prompts; of those that were encoded before there is nothing."""
        for prompt in prompts:
            if prompt.run is not None:
                details: Details = {"replica": prompt.replica, "token_count": prompt.token_count}
                self._trace.worked("text_encode", prompt.run, details)

    def queued(self, image_index: int, since_s: float, until_s: float) -> None:
        """Note that an image has waited for its first step; in seconds since the epoch.

        Two machines' clocks may say that it has not.
        """
        waited_s = max(0.0, until_s - since_s)
        self._trace.waited("queue", since_s, waited_s, {"image_index": image_index})

    def stepped(self, image_index: int, replica: str, step: StepDone) -> None:
        """Note a denoise step."""
        details: Details = {
            "image_index": image_index,
            "replica": replica,
            "step": step.step,
            "timestep": step.timestep,
        }
        self._trace.worked("denoise_step", step.run, details)

    def decoded(self, image_index: int, image: DecodedImage) -> None:
        """Note that an image was decoded and encoded."""
        details: Details = {"image_index": image_index, "replica": image.replica}
        self._trace.worked("vae_decode", image.vae_run, details)
        self._trace.worked("image_encode", image.encode_run, details)
