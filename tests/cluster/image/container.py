"""A container under what Kubernetes calls "restricted", with a read-only root."""

import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cluster.image.tools import Tools, limits
from support.patience import PATIENCE_S

__all__ = ["Container", "container"]

RESTRICTED = (
    *("--read-only", "--read-only-tmpfs=false"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--tmpfs", "/tmp:mode=1777", "--shm-size", "1g"),
)
"""What the pods of the chart have; their third folder that may be written to is the home."""
USER = 10001

READY = re.compile(r"ready: grpcs? (\S+)")


@dataclass
class Container:
    """One that runs, and what it has said."""

    tools: Tools
    name: str
    process: "subprocess.Popen[str]"
    said: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def follow(self) -> None:
        """Read what it says, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.said.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.said.append("(it has ended)")
            self._news.notify_all()

    def wait_for(self, pattern: "re.Pattern[str]") -> "re.Match[str]":
        """Return the first line that fits, once it has come.

        Raises:
            AssertionError: it ended, or said nothing of the kind for long.

        """

        def told() -> bool:
            return any(pattern.search(line) for line in self.said) or "(it has ended)" in self.said

        with self._news:
            self._news.wait_for(told, timeout=PATIENCE_S)
        for line in self.said:
            if found := pattern.search(line):
                return found
        raise AssertionError(f"no {pattern.pattern!r} in:\n" + "\n".join(self.said[-30:]))

    def address(self) -> str:
        """Return where the server answers, once it is ready."""
        return self.wait_for(READY)[1]

    def execute(self, *command: str) -> str:
        """Run a command in it; return what it says. Raises CommandError where it fails."""
        return self.tools.podman("exec", self.name, *command)

    def status_of_main(self) -> dict[str, str]:
        """Return what the kernel says of the process below tini."""
        lines = self.execute("cat", "/proc/1/task/1/children").split()
        status = self.execute("cat", f"/proc/{lines[0]}/status").splitlines()
        return {name: value.strip() for name, _, value in (s.partition(":") for s in status)}

    def stop(self) -> int:
        """Ask it to end, by its own signal, and wait; return its exit status."""
        self.tools.podman("stop", "--time", str(int(PATIENCE_S)), self.name)
        return self.process.wait(PATIENCE_S)


@contextmanager
def container(
    tools: Tools,
    image: str,
    *command: str,
    name: str,
    network: Literal["host", "none"] = "host",
    options: Sequence[str | Path] = (),
) -> Iterator[Container]:
    """Run a container until the end of the block. Without a network it has its own loopback."""
    with tempfile.TemporaryDirectory(prefix="leyden-home-") as home:
        os.chown(home, USER, USER)
        volume = ("--volume", f"{home}:/home/leyden")
        every = [*volume, *options]
        with _run(tools, image, *command, name=name, network=network, options=every) as running:
            yield running


@contextmanager
def _run(
    tools: Tools,
    image: str,
    *command: str,
    name: str,
    network: str,
    options: Sequence[str | Path],
) -> Iterator[Container]:
    arguments = [
        *("run", "--rm", "--name", name, "--network", network, "--pull", "never"),
        *limits(),
        *RESTRICTED,
        *options,
        *(image, *command),
    ]
    with subprocess.Popen(
        tools.podman_command(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        running = Container(tools, name, process)
        reader = threading.Thread(target=running.follow, daemon=True)
        reader.start()
        try:
            yield running
        finally:
            if process.poll() is None:
                tools.podman("rm", "--force", "--ignore", "--time", "10", name)
            process.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
