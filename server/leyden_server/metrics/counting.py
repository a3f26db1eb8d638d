"""Counts what becomes of requests: an observer beside the request log."""

import time
from collections.abc import Callable, Sequence

from leyden_server.generations.records import Observer, RequestRecord, StreamedResponse
from leyden_server.metrics import of_leyden as ours
from leyden_server.metrics import of_statistics as of
from leyden_server.metrics import of_triton as triton
from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.metric import Metric
from leyden_server.stages.contract import DecodedImage, EncodedPrompt, StageRun, StepDone
from leyden_server.stages.tally import DeviceMemory, EngineTally

__all__ = ["Counting"]

CLIENT_LEFT = {"CANCELLED": "cancelled", "DEADLINE_EXCEEDED": "deadline"}
"""Codes of a request that its client has left, and the words for that."""

LEFT_OTHERWISE = {"CANCELLED_BY_REQUEST": "by_request", "NOBODY_WATCHED": "nobody_watched"}
"""Reasons that say more of it."""

OF_A_STAGE = frozenset({"INTERNAL", "UNAVAILABLE"})
"""Codes by which an admitted request ends where a stage is the cause."""

TURNED_AWAY = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})
"""Codes of a refusal that is not the request's fault."""


class Counting(Observer):
    """Writes into a ledger. For one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        knows: Callable[[str], bool],
        note_memory: Callable[[str, DeviceMemory | None], None],
    ) -> None:
        """Count into `ledger`.

        Args:
            ledger: where to.
            knows: tells the listing's names from others, which would be series without end.
            note_memory: is told of the device of a replica that has answered.

        """
        self._ledger = ledger
        self._knows = knows
        self._note_memory = note_memory

    def refused(self, record: RequestRecord) -> None:
        """Count a refusal."""
        self._end(record)

    def text_encoded(self, record: RequestRecord, prompt: EncodedPrompt) -> None:
        """Count a prompt, and the time that it took where it was not kept from before."""
        ledger = self._ledger
        ledger.add(ours.PROMPTS, (record.model, "true" if prompt.run is None else "false"))
        if prompt.run is not None:
            ledger.observe(ours.TEXT_ENCODE, (record.model,), prompt.run.duration_s)
            self._note_memory(prompt.replica, prompt.memory)
            self._share(of.TEXT_RUNS, of.TEXT_RUN_SECONDS, record.model, prompt.run)

    def stepped(self, record: RequestRecord, replica: str, step: StepDone) -> None:
        """Count what the engine told with a step: of other images' steps too."""
        self._note_memory(replica, step.memory)
        if step.tally is not None:
            self.tallied(record.model, step.tally)

    def tallied(self, model: str, tally: EngineTally) -> None:
        """Count runs of the UNet, and rows that did not run."""
        ledger, of_model = self._ledger, (model,)
        for run in tally.runs:
            by_rows = (model, str(run.rows))
            ledger.add(triton.EXEC_COUNT, (model, triton.VERSION))
            ledger.add(ours.UNET_RUNS, by_rows)
            ledger.add(ours.UNET_SECONDS, by_rows, run.duration_s)
            ledger.add(ours.UNET_ROWS, of_model, run.rows)
            ledger.observe(ours.STEP, of_model, run.duration_s)
            if run.padded_rows:
                ledger.add(ours.PADDED_ROWS, of_model, run.padded_rows)
        if tally.rows_saved:
            ledger.add(ours.ROWS_SAVED, of_model, tally.rows_saved)

    def decoded(self, record: RequestRecord, image: DecodedImage) -> None:
        """Count an image and the times that it took."""
        ledger, of_model = self._ledger, (record.model,)
        self._note_memory(image.replica, image.memory)
        self._share(of.VAE_RUNS, of.VAE_RUN_SECONDS, record.model, image.vae_run)
        ledger.add(ours.IMAGES, of_model)
        ledger.observe(ours.VAE_DECODE, of_model, image.vae_run.duration_s)
        ledger.observe(ours.IMAGE_ENCODE, of_model, image.encode_run.duration_s)

    def retried(self, record: RequestRecord, stage: str) -> None:
        """Count a run that begins again."""
        self._ledger.add(ours.RETRIES, (record.model, stage))

    def ended(self, record: RequestRecord) -> None:
        """Count a generation by its end."""
        if record.code != "OK" and record.spared_rows:
            self._ledger.add(ours.ROWS_SAVED, (record.model,), record.spared_rows)
        self._end(record)

    def sent(self, protocol: str, size_bytes: int) -> None:
        """Count the bytes of a message."""
        self._ledger.add(ours.SENT, (protocol,), size_bytes)

    def responded(self, response: StreamedResponse) -> None:
        """Count a response of a stream."""
        ledger, model, index = self._ledger, response.model, str(response.index)
        seconds = response.since_s
        ledger.add(of.RESPONSES, (model, index, response.outcome))
        ledger.add(of.RESPONSE_SECONDS, (model, index, response.outcome), seconds)
        if response.part:
            ledger.add(of.PARTS, (model, index, response.part))
            ledger.add(of.PART_SECONDS, (model, index, response.part), seconds)

    def _share(self, runs: Metric, seconds: Metric, model: str, run: StageRun) -> None:
        """Count one row's share of a run: the others' are told with their answers."""
        labels = (model, str(run.batch_rows))
        self._ledger.add(runs, labels, 1 / run.batch_rows)
        self._ledger.add(seconds, labels, run.duration_s / run.batch_rows)

    def _end(self, record: RequestRecord) -> None:
        if record.call is None:
            self._count([record])
        else:
            record.call.ended(record, self._count)

    def _count(self, rows: Sequence[RequestRecord]) -> None:
        """Count a request once, whose rows may be generations of their own."""
        failed = [record for record in rows if record.code != "OK"]
        if not failed:
            self._succeed(rows)
            return
        # Where one row fails the others are cancelled: that is not why the request failed.
        record = next((one for one in failed if one.code != "CANCELLED"), failed[0])
        labels = (self._model(record), record.code, record.reason)
        self._ledger.add(ours.REFUSED if record.was_refused else ours.FAILED, labels)
        self._fail(record, _turned_away(record) if record.was_refused else _cause(record))

    def _succeed(self, rows: Sequence[RequestRecord]) -> None:
        # The parts of the row that took longest: together they are no more than the whole.
        record = max(rows, key=lambda row: row.total_s or 0.0)
        ledger, labels = self._ledger, (record.model, triton.VERSION)
        ledger.add(triton.SUCCESS, labels)
        ledger.add(triton.COUNT, labels, sum(row.image_count for row in rows))
        ledger.put(ours.LAST_SUCCESS, (record.model,), time.time())
        queue_s, duration_s = record.queue_s or 0.0, record.total_s or 0.0
        for metric, seconds in (
            (triton.REQUEST_US, duration_s),
            (triton.QUEUE_US, queue_s),
            (triton.INPUT_US, record.text_encode_s),
            (triton.INFER_US, record.denoise_s),
            (triton.OUTPUT_US, record.decode_s),
        ):
            ledger.add(metric, labels, round((seconds or 0.0) * 1e6))
        ledger.observe(ours.QUEUE, (record.model,), queue_s)
        ledger.observe(ours.GENERATION, (record.model,), duration_s)

    def _fail(self, record: RequestRecord, reason: str) -> None:
        """Count a failure as Triton does, and a departure as one."""
        model = self._model(record)
        how = LEFT_OTHERWISE.get(record.reason) or CLIENT_LEFT.get(record.code)
        if how is not None:
            self._ledger.add(ours.LEFT, (model, how))
            reason = "CANCELED"
        if model:
            self._ledger.add(triton.FAILURE, (model, triton.VERSION, reason))
            seconds = max(0.0, time.time() - record.started)
            self._ledger.add(ours.FAILED_SECONDS, (model,), seconds)

    def _model(self, record: RequestRecord) -> str:
        return record.model if self._knows(record.model) else ""


def _turned_away(record: RequestRecord) -> str:
    return "REJECTED" if record.code in TURNED_AWAY else "OTHER"


def _cause(record: RequestRecord) -> str:
    if record.code in OF_A_STAGE or record.reason == "OUT_OF_MEMORY":
        return "REJECTED" if record.reason == "DRAINING" else "BACKEND"
    return "OTHER"
