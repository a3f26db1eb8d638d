"""The log's file: rotated by size, by several processes at once, and read without a gap."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leyden_server.generations.log_file import LogFile, LogFollower

LINE = "0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "requests.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[LogFile]:
    """A file of two lines at most, with two backups."""
    with closing(LogFile(path, 2 * len(LINE) + 2, 2)) as log:
        yield log


def append(log: LogFile, *numbers: int) -> None:
    for number in numbers:
        log.append(f"{number:010}")


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()]


def test_a_full_file_is_moved_aside_and_the_oldest_dropped(path: Path, log: LogFile) -> None:
    append(log, *range(9))

    files = [file for file in path.parent.iterdir() if file.suffix != ".lock"]
    kept = {file.name: numbers(file) for file in files}
    assert kept == {"requests.jsonl": [8], "requests.jsonl.1": [6, 7], "requests.jsonl.2": [4, 5]}


def test_a_line_longer_than_the_file_may_be_is_kept_whole(path: Path, log: LogFile) -> None:
    append(log, 1)
    log.append("x" * 100)
    assert path.read_text() == "x" * 100 + "\n"


def test_without_backups_a_full_file_is_begun_anew(path: Path) -> None:
    with closing(LogFile(path, 2 * len(LINE) + 2, 0)) as log:
        append(log, 1, 2, 3)
    assert numbers(path) == [3]
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]


def test_a_file_that_was_moved_away_is_begun_anew(path: Path, log: LogFile) -> None:
    append(log, 1)
    path.rename(path.with_suffix(".old"))
    append(log, 2)
    assert numbers(path.with_suffix(".old")) == [1]
    assert numbers(path) == [2]


def test_a_full_disk_costs_the_line_and_nothing_else(
    path: Path, log: LogFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    append(log, 1)
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: whole(file, data[:3]))
        append(log, 2)
    assert "only 3 of 11 bytes fit" in caplog.text

    def no_space(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", no_space)
        append(log, 3)
    assert "No space left" in caplog.text
    append(log, 4)
    assert numbers(path) == [1, 4]


def test_a_follower_reads_what_comes_after_it_over_rotations(path: Path, log: LogFile) -> None:
    append(log, 0)
    with closing(LogFollower(path)) as follower:
        read = [follower.read()]
        for first, count in ((1, 1), (2, 1), (3, 4), (7, 0), (7, 2), (9, 5)):
            append(log, *range(first, first + count))
            read.append(follower.read())
        lines = [int(line) for line in "".join(read).splitlines()]
    assert lines == list(range(1, 14))


def test_a_follower_waits_for_a_file_that_is_yet_to_come(path: Path) -> None:
    with closing(LogFollower(path)) as follower:
        assert follower.read() == ""
        with closing(LogFile(path, 2 * len(LINE) + 2, 2)) as log:
            append(log, *range(3))
        assert [int(line) for line in follower.read().splitlines()] == [0, 1, 2]


def test_a_follower_goes_on_where_a_file_was_dropped(path: Path) -> None:
    """Without backups what is left unread is gone; what comes after it is not."""
    with (
        closing(LogFile(path, 2 * len(LINE) + 2, 0)) as log,
        closing(LogFollower(path)) as follower,
    ):
        append(log, 1)
        assert follower.read() == f"{1:010}\n"
        append(log, 2, 3)
        assert follower.read() == f"{2:010}\n{3:010}\n"


WRITER = """
import sys
from pathlib import Path
from leyden_server.generations.log_file import LogFile

log = LogFile(Path(sys.argv[1]), 4096, 1000)
for number in range(int(sys.argv[3])):
    log.append(f"{sys.argv[2]} {number:06} " + "x" * 40)
"""


def test_processes_that_write_at_once_lose_and_repeat_no_line(path: Path) -> None:
    lines_each = 2000
    with closing(LogFollower(path)) as follower:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, path, name, str(lines_each)])
            for name in "ab"
        ]
        read = ""
        while any(writer.poll() is None for writer in writers):
            read += follower.read()
        read += follower.read()
    assert [writer.returncode for writer in writers] == [0, 0]

    by_number = sorted(path.parent.glob("*.jsonl.[0-9]*"), key=lambda file: -int(file.suffix[1:]))
    assert len(by_number) > 10
    assert all(file.stat().st_size <= 4096 for file in (path, *by_number))
    written = "".join(file.read_text() for file in (*by_number, path))
    assert read == written
    for name in "ab":
        own = [line.split()[1] for line in written.splitlines() if line.startswith(name)]
        assert own == [f"{number:06}" for number in range(lines_each)]
