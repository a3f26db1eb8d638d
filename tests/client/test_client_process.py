"""The `leyden` command as a process: signals, pipes and terminals."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.patience import PATIENCE_S
from support.scripted_server import (
    Hold,
    ScriptedServer,
    model,
    numbered,
    progress,
    queued,
    serve,
    whole_script,
)

import leyden_client

PACKAGE_ROOT = str(Path(leyden_client.__file__).parents[1])
COMMAND = [sys.executable, "-m", "leyden_cli"]


@pytest.fixture(autouse=True)
def _address(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYDEN_SERVER", server.target)
    monkeypatch.setenv("PYTHONPATH", PACKAGE_ROOT)


def test_ctrl_c_cancels_on_the_server(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [*numbered(queued(), progress(1)), Hold()]
    process = subprocess.Popen(
        [*COMMAND, "generate", "p", "-o", str(tmp_path / "out.png")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        # Its line is the sign that the client reads, and not only that it sent.
        while "step 1 of 2" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr.read() == "interrupted\n"
    assert server.cancels == [server.requests[0].request_id]
    assert server.cancelled.wait(PATIENCE_S)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_stdout_cancels_on_the_server(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = [*numbered(queued(), *(progress(1) for _ in range(2000))), Hold()]
    process = subprocess.Popen(
        [*COMMAND, "generate", "p", "-o", str(tmp_path / "out.png"), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["event"] == "queued"
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 1
        assert process.stderr.read() == ""
    assert server.cancelled.wait(PATIENCE_S)


def test_a_server_that_goes_away_is_one_message(tmp_path: Path) -> None:
    scripted = ScriptedServer(script=[*numbered(queued()), Hold()])
    running = serve(scripted)
    process = subprocess.Popen(
        [*COMMAND, "generate", "p", "-o", "a.png", "--server", scripted.target, "--linger", "1"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    with process:
        assert process.stderr is not None
        assert "queued" in process.stderr.readline()
        running.stop(grace=None)
        assert process.wait(PATIENCE_S) == 1
        lines = process.stderr.read().splitlines()
    scripted.release()
    assert len(lines) == 2
    assert "went away" in lines[0]


def test_the_live_display_on_a_terminal(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = whole_script()
    ours, theirs = pty.openpty()
    # No more than a pty holds is written: nobody reads it before the end.
    process = subprocess.run(
        [*COMMAND, "generate", "p", "-o", "out.png"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "written to out.png" in shown
    assert "\x1b[" in shown
    assert process.stdout.decode().startswith("out.png  seed 7")


def test_a_long_list_of_words_is_broken_under_itself_on_a_terminal(
    server: ScriptedServer,
) -> None:
    words = [f"word{number}" for number in range(60)]
    server.models = [model(known_words=words)]
    ours, theirs = pty.openpty()
    subprocess.run(
        [*COMMAND, "models", "tiny"], stdout=theirs, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    os.close(theirs)
    lines = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    first = next(index for index, line in enumerate(lines) if line.startswith("words "))
    listed = " ".join(lines[first:]).removeprefix("words").split()
    assert listed == [f"{word}," for word in words[:-1]] + words[-1:]
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(" " * 13 + "word") for line in lines[first + 1 :])
