"""One JSON line a request: who asked for what, how it ended, what it took."""

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from leyden_server.generations.log_file import LogFile

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
    """Appends records to a file that all Gateway replicas of a node may share: `LogFile`.

    Without `max_bytes` the file grows for ever.
    """

    def __init__(self, path: Path, max_bytes: int = sys.maxsize, backups: int = 0) -> None:
        self._file = LogFile(path, max_bytes, backups)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

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
        self._file.append(json.dumps(line))

    def write_defect(self, error_id: str, error: BaseException) -> None:
        """Append a traceback under the id that the client was given."""
        self._file.append(json.dumps({"error_id": error_id, "traceback": _traceback(error)}))


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error))
