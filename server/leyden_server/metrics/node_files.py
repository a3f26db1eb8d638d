"""What the Gateways of one node tell each other of their numbers, in files.

Each writes its own file, about once a second and before it shows its numbers to anybody. The one
that has the lock serves the page, and reads the others' files for it. A Gateway that has died
leaves its file behind, so that nothing that was counted is ever less on the page: Prometheus would
take that for a restart, and all that was ever counted for an increase.
"""

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from leyden_server.locked_file import lock_file
from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.metric import Metric
from leyden_server.metrics.table import COUNTED_TOO, METRICS

__all__ = ["NodeFiles"]

logger = logging.getLogger(__name__)

EVERYTHING = (*METRICS, *COUNTED_TOO)

COUNTED = tuple(metric for metric in EVERYTHING if metric.kind != "gauge")
"""What outlives its Gateway."""


class NodeFiles:
    """The numbers of all Gateways that name one folder. For one event loop each."""

    def __init__(self, folder: Path, name: str) -> None:
        """Begin with no numbers under a name that no other Gateway has or had."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / f"{re.sub('[^A-Za-z0-9-]', '_', name)}.json"
        self._lives = lock_file(_lock_file_of(self._path))
        self._leads: int | None = None

    def close(self) -> None:
        """Leave; what was written stays."""
        for lock in (self._lives, self._leads):
            if lock is not None:
                os.close(lock)
        self._lives = self._leads = None

    def leads(self) -> bool:
        """Return whether this Gateway is the one that serves the page; it stays so."""
        if self._leads is None:
            self._leads = lock_file(self._folder / "page.lock")
        return self._leads is not None

    def step_down(self) -> None:
        """Let another Gateway serve the page."""
        if self._leads is not None:
            os.close(self._leads)
            self._leads = None

    def write(self, ledger: Ledger) -> None:
        """Tell the others the numbers of this Gateway."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(ledger.as_data(EVERYTHING)), encoding="ascii")
        new.replace(self._path)

    def together(self, own: Ledger) -> Ledger:
        """Return the numbers of all; of this one, which has to have written them, its `own`."""
        merged = Ledger()
        _merge(merged, own, EVERYTHING)
        for path, other in self._others():
            _merge(merged, other, EVERYTHING if _is_locked(_lock_file_of(path)) else COUNTED)
        return merged

    def _others(self) -> Iterator[tuple[Path, Ledger]]:
        for path in sorted(self._folder.glob("*.json")):
            if path != self._path:
                ledger = Ledger()
                try:
                    ledger.put_data(json.loads(path.read_text(encoding="ascii")), EVERYTHING)
                except ValueError:
                    logger.warning("%s has no metrics of this version", path)
                    continue
                yield path, ledger


def _merge(into: Ledger, other: Ledger, metrics: tuple[Metric, ...]) -> None:
    for metric in metrics:
        into.merge(other, metric)


def _lock_file_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _is_locked(path: Path) -> bool:
    """Return whether the process that locked a file lives."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
