"""What `make install` says while pip works."""

import subprocess
import sys
from pathlib import Path

import pytest
from checks import install

ROOT = Path(__file__).resolve().parents[2]

# As pip 23 and 26 write them.
LINES = """\
Looking in links: /opt/wheels
Obtaining file:///home/someone/leyden/client/python
  Installing build dependencies: started
Collecting torch==2.13.0 (from -c tests/constraints.txt (line 8))
  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (31 kB)
  Downloading https://files.example/packages/ab/torch-2.13.0-cp311-cp311-manylinux.whl (526.7 MB)
  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)
Downloading cuda_toolkit-13.0.2-py2.py3-none-any.whl (1.2 GB)
Installing collected packages: six, torch, leyden
Successfully installed leyden-0.1.0 six-1.17.0 torch-2.13.0
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(install.__file__), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_a_few_of_pip_s_lines_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    progress = install.Progress()
    for line in LINES.splitlines():
        progress.take(line)
    progress.tick()
    said = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "reading /home/someone/leyden/client/python",
        "downloading torch-2.13.0, 527 MB (527 in all)",
        "downloading cuda_toolkit-13.0.2, 1200 MB (1727 in all)",
        "downloaded 1727 MB; unpacking 3 packages",
        "unpacked 0 of 3 packages",
    ]


def test_what_pip_says_of_a_failure_is_shown() -> None:
    result = run("--no-index", "--no-deps", "a-distribution-that-nobody-has")
    assert result.returncode == 1
    assert "pip failed" in result.stdout
    assert "No matching distribution found for a-distribution-that-nobody-has" in result.stderr


def test_it_ends_with_what_is_there_now() -> None:
    result = run("--dry-run", "--no-deps", "--no-index", "pytest")
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first.startswith("Installing leyden, leyden-client and leyden-training")
    assert last.endswith(" GB")
