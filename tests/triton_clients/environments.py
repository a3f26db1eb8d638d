"""The venvs of the clients: made once from pinned requirements, and kept.

A client of Triton's needs another protobuf than Leyden's tools do, and is to be tested as its users
have it. So each has a venv of its own in `.venv-triton/`, which is made anew where its
requirements have changed.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from checks.install import Progress

__all__ = ["NO_SHARED_PYTHON", "Environment", "InstallError", "NoWheelError", "shared_python"]

HERE = Path(__file__).resolve().parent
VENVS = HERE.parents[1] / ".venv-triton"

NOT_FOUND = re.compile(r"No matching distribution found for (\S+)")
"""What pip says of it, and of an index that it does not reach, behind lines that say Retrying."""

SHARED = """
import ensurepip, sys, sysconfig, venv
assert sysconfig.get_config_var("Py_ENABLE_SHARED")
assert (3, 9) <= sys.version_info[:2] <= (3, 13)
"""
"""Fails in a Python that cannot run Triton's Python backend, which loads libpython by its name."""

NO_SHARED_PYTHON = (
    "Triton's Python backend needs a Python 3.9 to 3.13 that has venv and a shared libpython, and "
    "there is none here (on Debian: apt-get install python3-venv libpython3-dev)"
)


class InstallError(Exception):
    """A venv cannot be made; the text says why and what would help."""


class NoWheelError(InstallError):
    """The index is there, and has one of the packages not for this machine."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A venv that has what `requirements/NAME.txt` says."""

    name: str
    base: str = sys.executable
    """The Python that it is made by."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return VENVS / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def library_folder(self) -> str:
        """Return where its Python's own shared library is."""
        ask = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
        return subprocess.check_output([self.python, "-c", ask], text=True).strip()

    def make(self) -> None:
        """Make it, unless it is there.

        Raises:
            NoWheelError: a package is for other machines alone.
            InstallError: pip failed, as it does where no package index is reached.

        """
        requirements = HERE / "requirements" / f"{self.name}.txt"
        installed, wanted = self.folder / "installed.txt", requirements.read_text("utf-8")
        if installed.is_file() and installed.read_text("utf-8") == wanted:
            return
        print(f"Making {self.folder} of {requirements.relative_to(HERE.parents[1])}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([self.base, "-m", "venv", self.folder], check=True)
        self._install(requirements)
        installed.write_text(wanted, "utf-8")

    def _install(self, requirements: Path) -> None:
        progress = Progress()
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install"]
        with subprocess.Popen(
            [*pip, "-r", str(requirements)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                progress.take(line.rstrip("\n"))
        if process.returncode:
            said = "\n".join(progress.all_lines[-12:])
            missing = NOT_FOUND.search(said)
            if any("Retrying" in line for line in progress.all_lines):
                raise InstallError(
                    f"{said}\nThe package index was not reached, so {requirements.name} is not "
                    "installed; pip's settings say which index it is (pip config list)."
                )
            if missing:
                raise NoWheelError(f"the package index has no {missing[1]} for this machine")
            raise InstallError(f"{said}\npip could not install {requirements.name}")
        progress.say("installed")


def shared_python() -> str | None:
    """Return a Python that can run Triton's Python backend, or None."""
    names = ["/usr/bin/python3", *(shutil.which(f"python3.{n}") or "" for n in range(13, 8, -1))]
    for name in filter(None, names):
        tried = subprocess.run([name, "-c", SHARED], capture_output=True, check=False)
        if tried.returncode == 0:
            return name
    return None
