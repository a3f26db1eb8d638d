"""Makes a peer's venv, once, below `.bench/`."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.contestants import CACHE, IN_VENV, Contestant

__all__ = ["UnavailableError", "is_made", "python_of", "versions_in"]


class UnavailableError(Exception):
    """A peer cannot be installed, started or driven; the message is the reason."""


def python_of(contestant: Contestant, report: Callable[[str], None]) -> str:
    """Return the python of a contestant's venv, made first where it is missing.

    Raises:
        UnavailableError: it cannot be made.

    """
    if contestant.requirements is None:
        return contestant.base_python
    venv = _venv(contestant)
    done = venv / ".installed"
    if not done.exists():
        report(f"{contestant.name}: making its venv, 1 to 3 minutes")
        shutil.rmtree(venv, ignore_errors=True)
        try:
            _run([contestant.base_python, "-m", "venv", str(venv)])
            pip = [str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
            _run([*pip, "install", "-q", "-r", str(contestant.requirements)])
        except (OSError, subprocess.CalledProcessError) as error:
            shutil.rmtree(venv, ignore_errors=True)
            raise UnavailableError(f"its venv cannot be made: {_reason(error)}") from error
        done.touch()
    return str(venv / "bin/python")


def versions_in(python: str) -> dict[str, str]:
    """Return the version of Python and of each package that a venv has, by name."""
    code = (
        "import json, platform, importlib.metadata as m;"
        "found = {d.metadata['Name']: d.version for d in m.distributions()};"
        "print(json.dumps({'python': platform.python_version(), **dict(sorted(found.items()))}))"
    )
    output = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(output.stdout)
    return versions


def is_made(contestant: Contestant) -> bool:
    """Whether `python_of` has nothing to install."""
    return contestant.requirements is None or (_venv(contestant) / ".installed").exists()


def _venv(contestant: Contestant) -> Path:
    digest = hashlib.sha256(_wanted(contestant)).hexdigest()[:8]
    return CACHE / "venvs" / f"{contestant.name}-{digest}"


def _wanted(contestant: Contestant) -> bytes:
    assert contestant.requirements is not None
    texts = [contestant.requirements.read_bytes(), (IN_VENV / "model.txt").read_bytes()]
    return b"\n".join([contestant.base_python.encode(), *texts])


def _run(command: list[str]) -> None:
    # A venv's pip is not to see the variables of the one that runs this.
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def _reason(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, OSError):
        return str(error)
    lines = [line for line in f"{error.stdout}\n{error.stderr}".splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1][:300]
