"""Values that are not counted but read where they are, when somebody looks."""

import math
import time
from importlib.metadata import PackageNotFoundError, version

from leyden_server.generations.outlook import outlook
from leyden_server.generations.registry import Generations
from leyden_server.generations.served_model import ServedModel
from leyden_server.metrics import of_leyden as ours
from leyden_server.metrics import of_triton as triton
from leyden_server.metrics.ledger import Ledger
from leyden_server.stages.tally import DeviceMemory

__all__ = ["Readings"]

MEMORY_LIFE_S = 300.0
"""A replica that has answered nobody for so long may be gone, and its memory is not told."""

OF_A_MODEL = (
    ours.IMAGES,
    ours.QUEUE,
    ours.GENERATION,
    ours.TEXT_ENCODE,
    ours.STEP,
    ours.VAE_DECODE,
    ours.IMAGE_ENCODE,
    ours.UNET_ROWS,
    ours.PADDED_ROWS,
    ours.ROWS_SAVED,
    ours.FAILED_SECONDS,
)
"""Counted under the model alone."""

COUNTED_BY_TRITON = (
    triton.SUCCESS,
    triton.COUNT,
    triton.EXEC_COUNT,
    triton.REQUEST_US,
    triton.QUEUE_US,
    triton.INPUT_US,
    triton.INFER_US,
    triton.OUTPUT_US,
)

OF_THE_LINE = (
    triton.PENDING,
    ours.LINE_REQUESTS,
    ours.IMAGES_WAITING,
    ours.IMAGES_RUNNING,
    ours.IMAGES_OPEN,
    ours.EXPECTED_WAIT,
    ours.REPLICAS,
    ours.REPLICAS_WANTED,
)
"""Of the models that are served now."""


class Readings:
    """Reads the house into a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._version = _version()
        self._started_s = time.monotonic()
        self._memory: dict[str, tuple[float, DeviceMemory]] = {}

    def note_memory(self, replica: str, memory: DeviceMemory | None) -> None:
        """Keep what a replica has told of its device; None: there is no such device."""
        if memory is not None:
            self._memory[replica] = time.monotonic(), memory

    def read(self, generations: Generations, certificate_expiry_s: float | None) -> None:
        """Put what holds now into the ledger; the expiry is since 1970, None: no TLS."""
        ledger, holdings = self._ledger, generations.holdings
        ledger.put(ours.OPEN_STREAMS, (), holdings.open_streams)
        ledger.put(ours.KEPT_BYTES, (), holdings.kept_bytes)
        ledger.put(ours.UNSENT_BYTES, (), holdings.unsent_bytes)
        ledger.put(ours.PREVIEWS_DROPPED, (), holdings.dropped_previews)
        ledger.put(ours.GATEWAYS, (), 1)
        ledger.put(ours.DRAINING, (), generations.is_draining)
        if certificate_expiry_s is not None:
            ledger.put(ours.CERTIFICATE_EXPIRY, (), certificate_expiry_s)
        ledger.put(ours.BUILD_INFO, (self._version,), 1)
        ledger.put(ours.UPTIME, (), time.monotonic() - self._started_s)
        for metric in OF_THE_LINE:
            ledger.clear(metric)  # of models that have been unloaded nothing is told
        for served in generations.catalog.served:
            self._begin_series(served.model.name)
            self._read_line(served)
            self._read_stages(served)
        self._read_memory()

    def _begin_series(self, model: str) -> None:
        """Have all series of a model from its start on, or a first failure is no increase."""
        begin = self._ledger.begin
        for metric in OF_A_MODEL:
            begin(metric, (model,))
        for metric in COUNTED_BY_TRITON:
            begin(metric, (model, triton.VERSION))
        for reason in triton.REASONS:
            begin(triton.FAILURE, (model, triton.VERSION, reason))
        for stage in ours.STAGES:
            begin(ours.RETRIES, (model, stage))
        for how in ours.HOW_LEFT:
            begin(ours.LEFT, (model, how))
        for cached in ("false", "true"):
            begin(ours.PROMPTS, (model, cached))

    def _read_line(self, served: ServedModel) -> None:
        ledger, name, now = self._ledger, served.model.name, outlook(served.line)
        ledger.put(triton.PENDING, (name, triton.VERSION), now.waiting_requests)
        ledger.put(ours.LINE_REQUESTS, (name,), now.waiting_requests)
        ledger.put(ours.IMAGES_WAITING, (name,), now.waiting_images)
        ledger.put(ours.IMAGES_RUNNING, (name,), now.running_images)
        ledger.put(ours.IMAGES_OPEN, (name,), now.open_images)
        if now.expected_wait_s is not None and math.isfinite(now.expected_wait_s):
            ledger.put(ours.EXPECTED_WAIT, (name,), now.expected_wait_s)

    def _read_stages(self, served: ServedModel) -> None:
        stages = (served.text_encoder, served.denoiser, served.vae)
        for name, stage in zip(ours.STAGES, stages, strict=True):
            self._ledger.put(ours.REPLICAS, (name, stage.name), stage.replicas)
            self._ledger.put(ours.REPLICAS_WANTED, (name, stage.name), stage.wanted)

    def _read_memory(self) -> None:
        ledger, now = self._ledger, time.monotonic()
        ledger.clear(ours.GPU_MEMORY)
        for replica, (told_s, memory) in [*self._memory.items()]:
            if now - told_s > MEMORY_LIFE_S:
                del self._memory[replica]
                continue
            ledger.put(ours.GPU_MEMORY, (replica, "reserved"), memory.reserved_bytes)
            ledger.put(ours.GPU_MEMORY, (replica, "used"), memory.used_bytes)
            ledger.put(ours.GPU_MEMORY, (replica, "total"), memory.total_bytes)


def _version() -> str:
    try:
        return version("leyden")
    except PackageNotFoundError:  # it runs from its source alone
        return "unknown"
