"""Installs by pip, and says what is going on: pip itself is silent for minutes, or says too much.

    python tests/checks/install.py PIP-INSTALL-ARGUMENTS...

The environment is the one of the Python that runs this.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
TICK_S = 5.0
WORTH_A_LINE_MB = 5.0

# What pip says, in every version since 23.
DOWNLOADING = re.compile(r"\s*Downloading (?:.*/)?(\S+\.(?:whl|tar\.gz)) \(([\d.]+) ([kMG]B)\)")
BUILDING = re.compile(r"\s*(?:Obtaining|Processing) (?:file://)?(\S+)")
INSTALLING = re.compile(r"\s*Installing collected packages: (.*)")
ERROR = re.compile(r"\s*(?:ERROR|error)[:\s]")
IN_MB = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}


@dataclass
class Progress:
    """Turns the lines of pip into fewer, with the time that has passed."""

    started_s: float = field(default_factory=time.monotonic)
    downloaded_mb: float = 0.0
    to_install: int = 0
    there_before: int = 0
    all_lines: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Print a line."""
        print(f"[{time.monotonic() - self.started_s:4.0f} s] {what}", flush=True)

    def take(self, line: str) -> None:
        """Take the next line of pip's; say what a person waits for."""
        self.all_lines.append(line)
        if found := DOWNLOADING.match(line):
            size_mb = float(found[2]) * IN_MB[found[3]]
            self.downloaded_mb += size_mb
            if size_mb >= WORTH_A_LINE_MB:
                name = "-".join(found[1].split("-")[:2])
                self.say(f"downloading {name}, {size_mb:.0f} MB ({self.downloaded_mb:.0f} in all)")
        elif found := BUILDING.match(line):
            self.say(f"reading {found[1]}")
        elif found := INSTALLING.match(line):
            self.there_before = installed()
            self.to_install = len(found[1].split(","))
            self.say(
                f"downloaded {self.downloaded_mb:.0f} MB; unpacking {self.to_install} packages"
            )
        elif ERROR.match(line):
            self.say(line.strip())

    def tick(self) -> None:
        """Say how far the unpacking is, of which pip says nothing."""
        if self.to_install:
            done = min(self.to_install, max(0, installed() - self.there_before))
            self.say(f"unpacked {done} of {self.to_install} packages")


def installed() -> int:
    """Return how many packages the environment has."""
    return sum(1 for _ in SITE_PACKAGES.glob("*.dist-info"))


def size_gb(folder: Path) -> float:
    """Return what a folder takes on the disk, in GB."""
    files = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_blocks * 512 for file in files) / 1e9


def pip(arguments: Iterable[str], progress: Progress) -> int:
    """Run pip and follow it; return its exit code."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(TICK_S):
            progress.tick()

    ticking = threading.Thread(target=tick, daemon=True)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        ticking.start()
        assert process.stdout is not None
        for line in process.stdout:
            progress.take(line.rstrip("\n"))
    ended.set()
    ticking.join()
    return process.returncode


def has_the_command_of_before() -> bool:
    """Whether `leyden` here is of when it was one distribution, with the command in it.

    Its removal after the new one's installation would take the command along.
    """
    try:
        old = importlib.metadata.distribution("leyden")
    except importlib.metadata.PackageNotFoundError:
        return False
    return any(point.group == "console_scripts" for point in old.entry_points)


def main() -> int:
    """Install what the arguments name; return the exit code."""
    progress = Progress()
    print(
        f"Installing leyden, leyden-client and leyden-training, and the tools that test them, "
        f"into {sys.prefix}.\n"
        "Most of it is torch: 0.2 GB to download where pip finds a CPU build, 2.7 GB with CUDA "
        "where not;\nin the end 1.8 or 6.0 GB are on the disk. It takes a few minutes."
    )
    if "--dry-run" not in sys.argv and has_the_command_of_before():
        pip(["uninstall", "--yes", "leyden"], progress)
    code = pip(["install", *sys.argv[1:]], progress)
    if code:
        print("\n".join(progress.all_lines[-40:]), file=sys.stderr)
        progress.say("pip failed; the end of what it said is above")
    else:
        progress.say(f"installed: {installed()} packages, {size_gb(Path(sys.prefix)):.1f} GB")
    return code


if __name__ == "__main__":
    sys.exit(main())
