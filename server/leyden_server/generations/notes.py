"""What one generation tells of its work: to the observers, and to its trace."""

from collections.abc import Sequence

from leyden_server.generations.records import Observer, RequestRecord
from leyden_server.generations.tracing import TraceNotes
from leyden_server.stages.contract import DecodedImage, EncodedPrompt, StepDone

__all__ = ["Notes"]


class Notes:
    """Takes the notes of one generation."""

    def __init__(self, record: RequestRecord, observers: Sequence[Observer]) -> None:
        self._record = record
        self._observers = observers
        self._trace = TraceNotes(record.trace)

    def encoded(self, *prompts: EncodedPrompt) -> None:
        """Note prompts that a TextEncoder has answered."""
        self._trace.encoded(*prompts)
        for observer in self._observers:
            for prompt in prompts:
                observer.text_encoded(self._record, prompt)

    def queued(self, image_index: int, since_s: float, until_s: float) -> None:
        """Note that an image has waited for its first step; in seconds since the epoch."""
        self._trace.queued(image_index, since_s, until_s)

    def stepped(self, image_index: int, replica: str, step: StepDone) -> None:
        """Note a denoise step."""
        self._trace.stepped(image_index, replica, step)
        for observer in self._observers:
            observer.stepped(self._record, replica, step)

    def decoded(self, image_index: int, image: DecodedImage) -> None:
        """Note that an image was decoded and encoded."""
        self._trace.decoded(image_index, image)
        for observer in self._observers:
            observer.decoded(self._record, image)

    def retried(self, stage: str) -> None:
        """Note that a stage is run again."""
        for observer in self._observers:
            observer.retried(self._record, stage)
