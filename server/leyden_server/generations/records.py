"""What is told of each request, and to whom: the request log, the metrics."""

import json
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from leyden_server.generations.call import Call
from leyden_server.generations.log_file import LogFile
from leyden_server.generations.tracing import UNTRACED, Trace
from leyden_server.private_text import traceback_of
from leyden_server.sampling import Sampling
from leyden_server.stages.contract import DecodedImage, EncodedPrompt, StepDone
from leyden_server.stages.tally import EngineTally

__all__ = ["Observer", "RequestLog", "RequestRecord", "StreamedResponse"]

PROTOCOLS = {"inference": "kserve.v2"}
"""Protocols whose package has another name than they have."""


@dataclass(slots=True)
class RequestRecord:
    """One request, from its arrival to its end, whatever that was."""

    peer: str
    timeout_s: float | None = None
    """What was left until the client's deadline as the request came; None: it has none."""
    request_id: str = ""
    model: str = ""
    image_count: int = 0
    sampling: Sampling | None = None
    """Of image 0; None where the request was refused before that was known."""
    linger_s: float = 0.0
    priority: int = 0
    queue_s: float | None = None
    text_encode_s: float | None = None
    denoise_s: float | None = None
    """From the first step's start to the last step's end, of all images; None: not all are done."""
    decode_s: float | None = None
    """From there until the last image was there; None: it is not."""
    total_s: float | None = None
    """From acceptance until all of it was there; None: it is not."""
    unet_rows: int = 0
    """Rows of this request's own, summed over the steps that were reported."""
    spared_rows: int = 0
    """Rows of its images that no engine had been handed when it ended."""
    retries: int = 0
    images_sent: int = 0
    """Most images that one watcher has read."""
    code: str = ""
    """How it ended: the name of a gRPC code."""
    reason: str = ""
    message: str = ""
    method: str = ""
    """What was called, as "package.Service/Method"."""
    spoken: str = ""
    """What the client speaks; empty: the package of the method says it."""
    caller_request_id: str = ""
    """What the client calls its request, in a protocol where that is no name of a generation."""
    key: str = ""
    """Name of the caller's API key; empty: it has none."""
    prompts: dict[str, str] | None = None
    """`prompt` and `negative_prompt`, where gateway.log_prompts says that they are logged."""
    started: float = field(default_factory=time.time)
    trace: Trace = UNTRACED
    was_refused: bool = False
    """Whether there was never a generation."""
    call: Call | None = None
    """The call that it is a part of; None: it is the whole of it."""

    @property
    def protocol(self) -> str:
        """What the client speaks: what is known, or the package of what was called."""
        if self.spoken:
            return self.spoken
        package = self.method.partition("/")[0].rpartition(".")[0]
        return PROTOCOLS.get(package, package)

    def line(self) -> dict[str, object]:
        """Return the record as it is logged, the sampling's fields among its own."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        started, sampling = fields.pop("started"), fields.pop("sampling")
        del fields["was_refused"], fields["call"], fields["spoken"]
        trace_id, prompts = fields.pop("trace").trace_id, fields.pop("prompts") or {}
        of_sampling = dict.fromkeys(Sampling.__dataclass_fields__)
        if sampling is not None:
            of_sampling = sampling.as_dict()
        return {
            "time": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds"),
            **fields,
            **of_sampling,
            **prompts,
            "protocol": self.protocol,
            "trace_id": trace_id,
            "duration_s": round(time.time() - started, 4),
        }


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """One response of a request, in a protocol that has statistics of them."""

    model: str
    index: int
    """Its number in its request's stream, from 0."""
    outcome: Literal["success", "fail", "empty_response", "cancel"]
    """Whether it was sent, told of a failure, had no outputs, or found nobody there."""
    part: Literal["compute_infer", "compute_output", ""]
    """What it told of: a denoise step, an image, or nothing."""
    since_s: float
    """Seconds since the response before, or the request's beginning."""


class Observer:
    """Is told what becomes of each request. What it raises is a defect.

    A subclass writes the moments that it is there for. They are, of one request, `refused`; or
    `admitted`, any of the others, and `ended`, whatever the end was.
    """

    def refused(self, record: RequestRecord) -> None:
        """Take note of a request that has ended before there was a generation."""

    def admitted(self, record: RequestRecord) -> None:
        """Take note of a generation that begins."""

    def text_encoded(self, record: RequestRecord, prompt: EncodedPrompt) -> None:
        """Take note of a prompt, or a negative one, that a TextEncoder has answered."""

    def stepped(self, record: RequestRecord, replica: str, step: StepDone) -> None:
        """Take note of a denoise step of one image, of one that is run again too."""

    def tallied(self, model: str, tally: EngineTally) -> None:
        """Take note of what an engine had counted and told with no step."""

    def decoded(self, record: RequestRecord, image: DecodedImage) -> None:
        """Take note of an image that a Vae has made."""

    def retried(self, record: RequestRecord, stage: str) -> None:
        """Take note of a stage ("text_encoder", "denoiser", "vae") that is run again."""

    def ended(self, record: RequestRecord) -> None:
        """Take note of a generation that has ended, and whose watchers have had its end."""

    def sent(self, protocol: str, size_bytes: int) -> None:
        """Take note of a message that was sent to a client."""

    def responded(self, response: StreamedResponse) -> None:
        """Take note of a response of a stream that has statistics."""

    def defect(self, error_id: str, error: BaseException) -> None:
        """Take note of a defect, under the id that the client was given."""

    def noted(self, text: str) -> None:
        """Take note of what an operator should know, such as a file that was read again."""


class RequestLog(Observer):
    """Appends records to a file that all Gateway replicas of a node may share: `LogFile`.

    Without `max_bytes` the file grows for ever.
    """

    def __init__(self, path: Path, max_bytes: int = sys.maxsize, backups: int = 0) -> None:
        self._file = LogFile(path, max_bytes, backups)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def refused(self, record: RequestRecord) -> None:
        """Append one line."""
        self.ended(record)

    def ended(self, record: RequestRecord) -> None:
        """Append one line."""
        # In ASCII: a request_id that is refused may hold anything, and `leyden serve` shows it.
        self._file.append(json.dumps(record.line()))

    def defect(self, error_id: str, error: BaseException) -> None:
        """Append a traceback under the id that the client was given."""
        told = {"error_id": error_id, "traceback": traceback_of(error)}
        self._file.append(json.dumps(told))

    def noted(self, text: str) -> None:
        """Append a line with the text."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.append(json.dumps({"time": now, "note": text}))
