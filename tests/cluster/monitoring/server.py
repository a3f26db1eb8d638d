"""A real `leyden serve`, with what it says of itself."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from cluster.monitoring.processes import Program, running
from cluster.monitoring.waiting import wait_for

__all__ = ["Server", "serving"]


class Server:
    """A server that is ready."""

    def __init__(self, program: Program, address: str) -> None:
        """Take the process, and the address of its gRPC."""
        self.program = program
        self.address = address
        page = re.search(r"metrics: http://([\d.:]+)/metrics", program.log())
        assert page is not None, program.log()
        self.page = page[1]
        """Host and port of its page of metrics."""

    def requests(self) -> list[Mapping[str, Any]]:
        """Return the lines of its request log that are requests' so far."""
        lines = [json.loads(line) for line in self.program.log().splitlines() if line[:1] == "{"]
        return [line for line in lines if "method" in line]


@contextmanager
def serving(config: Mapping[str, Any], folder: Path, name: str) -> Iterator[Server]:
    """Run a server until the block ends; it is ready within."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(dict(config)), "utf-8")
    command = [sys.executable, "-m", "leyden_cli", "serve", "--config", str(file)]
    with running(command, folder, name) as program:
        ready = wait_for("leyden serve", lambda: re.search(r"ready: grpcs? (\S+)", program.said()))
        yield Server(program, ready[1])
