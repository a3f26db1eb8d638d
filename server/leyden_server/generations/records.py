"""One JSON line a request: who asked for what, how it ended, what it took."""

import json
import logging
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path

__all__ = ["RequestLog", "RequestRecord"]


@dataclass(slots=True)
class RequestRecord:
    """One request. The handler fills it as it learns; `code` last."""

    peer: str
    timeout_s: float | None = None
    """What was left until the client's deadline as the request came; None: it has none."""
    request_id: str = ""
    model: str = ""
    image_count: int = 0
    num_inference_steps: int = 0
    width_px: int = 0
    height_px: int = 0
    guidance_scale: float = 0.0
    seed: int | None = None
    queue_s: float | None = None
    text_encode_s: float | None = None
    unet_rows: int = 0
    """Rows of this request's own, summed over the steps that were reported."""
    retries: int = 0
    images_sent: int = 0
    code: str = ""
    reason: str = ""
    message: str = ""
    started: float = field(default_factory=time.time)


class RequestLog:
    """Appends records to a file that all Gateway replicas of a node may share.

    The file may be moved away at any time, as logrotate does; a new one is begun then.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._logger = logging.Logger("leyden.requests")
        handler = WatchedFileHandler(path, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._logger.addHandler(handler)

    def write(self, record: RequestRecord) -> None:
        """Append one line."""
        fields = asdict(record)
        started = fields.pop("started")
        line = {
            "time": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds"),
            **fields,
            "duration_s": round(time.time() - started, 4),
        }
        # In ASCII: a request_id that is refused may hold anything, and `leyden serve` shows it.
        self._logger.info(json.dumps(line))

    def write_defect(self, error_id: str, error: BaseException) -> None:
        """Append a traceback under the id that the client was given."""
        self._logger.error(json.dumps({"error_id": error_id, "traceback": _traceback(error)}))


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))
