"""The programs that build and run an image here: buildah, podman with runc, debootstrap."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CommandError", "Tools", "limits", "missing"]

PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap", "podman": "podman", "runc": "runc"}
"""Each program, and Debian's package of it."""


MOST = 16384
"""Open files, and processes of the user: many times what a server needs."""


class CommandError(Exception):
    """A program failed; the message has the end of what it said."""


def missing() -> str:
    """Say what this machine lacks; "" where it lacks nothing."""
    if os.geteuid() != 0:
        return "root is needed, to make a clean Debian root and to mount it"
    if absent := [package for name, package in PROGRAMS.items() if shutil.which(name) is None]:
        return f"absent; on Debian: apt-get install --no-install-recommends {' '.join(absent)}"
    return ""


@dataclass(frozen=True)
class Tools:
    """Runs them, with a store of images that is this project's own."""

    folder: Path

    def run(self, *command: str | Path, follow: Callable[[str], None] | None = None) -> str:
        """Run a program to its end; return its output, whose lines are followed as they come.

        Raises:
            CommandError: it failed.

        """
        # Layers are put together in TMPDIR, and /tmp may be small.
        environment = {**os.environ, "TMPDIR": str(self.folder)}
        lines = []
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if follow is not None:
                    follow(line)
        if process.returncode:
            said = "".join(lines[-20:])
            raise CommandError(f"{command[0]} failed with {process.returncode}:\n{said}")
        return "".join(lines)

    def buildah(self, *arguments: str | Path, follow: Callable[[str], None] | None = None) -> str:
        """Run buildah; return its output."""
        return self.run("buildah", *self._store(), *arguments, follow=follow)

    def podman(self, *arguments: str | Path) -> str:
        """Run podman; return its output."""
        return self.run(*self.podman_command(arguments))

    def podman_command(self, arguments: Sequence[str | Path]) -> list[str | Path]:
        """Return a command line of podman's.

        crun refuses a machine with both kinds of cgroups, and systemd manages none in a sandbox:
        so runc, and cgroupfs.
        """
        how = ("--cgroup-manager", "cgroupfs", "--runtime", "runc")
        return ["podman", *self._store(), *how, *arguments]

    def _store(self) -> tuple[str | Path, ...]:
        images, running = self.folder / "images", self.folder / "running"
        return "--storage-driver", "overlay", "--root", images, "--runroot", running


def limits() -> list[str]:
    """Return podman's options for limits that this machine lets a container have.

    Podman's own are higher than a sandbox allows; and it lowers that of processes for itself.
    """
    options = []
    for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        limit = min(resource.getrlimit(number)[1], MOST)
        options += ["--ulimit", f"{name}={limit}:{limit}"]
    return options
