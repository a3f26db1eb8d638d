"""Peers on the same weights: runs `python -m benchmarks.peers` and takes over its JSON."""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from benchmarks.conditions import REPOSITORY
from benchmarks.section import Figure, Section, Settings

__all__ = ["measure"]

NAME = "Peers on the same weights"


def measure(settings: Settings) -> Section:
    """Run it; that it is missing or fails is a line of the table."""
    if find_spec("benchmarks.peers") is None:
        return _not_measured("benchmarks/peers is not there")
    settings.say("peers: python -m benchmarks.peers")
    with tempfile.TemporaryDirectory(prefix="leyden-benchmark-") as folder:
        file = Path(folder) / "peers.json"
        command = [sys.executable, "-m", "benchmarks.peers", "--json", str(file)]
        if settings.quick:
            command.append("--quick")
        ended = subprocess.run(command, cwd=REPOSITORY, check=False)
        if not file.exists():
            return _not_measured(f"it ended with {ended.returncode}; its own output says why")
        data = json.loads(file.read_text(encoding="utf-8"))
    measured = "its own tables are above"
    if ended.returncode != 0:
        measured += f"; it ended with {ended.returncode}: not all took part, or agreed"
    return Section(
        conditions={}, figures=[Figure(name=NAME, asked="", measured=measured)], data=data
    )


def _not_measured(why: str) -> Section:
    return Section(
        conditions={}, figures=[Figure(name=NAME, asked="", measured=f"not measured: {why}")]
    )
