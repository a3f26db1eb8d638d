"""`leyden serve --log-format`: text in colours on a terminal, plain in a pipe; JSON by default."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from cli.conftest import running
from support.fake_terminal import FakeTerminal
from support.patience import PATIENCE_S
from support.running_server import eventually

from leyden_client import Client, RpcError

SERVE = ["serve", "--in-process", "--port", "0"]


def use(address: str) -> None:
    """Send a request that succeeds and one that is refused."""
    with Client(address) as client:
        client.generate_image("a lake", request_id="good-one")
        with pytest.raises(RpcError, match="num_inference_steps"):
            client.generate_image("a lake", request_id="bad-one", num_inference_steps=5)


def test_on_a_terminal_people_read_coloured_text() -> None:
    command = [sys.executable, "-m", "leyden_cli", *SERVE, "--log-format", "text"]
    environ = {**os.environ, "TERM": "xterm-256color"}
    environ.pop("NO_COLOR", None)
    with FakeTerminal(command, environ, columns=400, rows=60) as terminal:
        terminal.until(lambda: "ready: grpc" in terminal.printed(), 300)
        address = re.search(r"ready: grpc (\S+)", terminal.printed())
        assert address is not None
        use(address[1])
        terminal.until(lambda: "request_id=bad-one" in terminal.printed(), 60)
        rows = {line.strip(): number for number, line in enumerate(terminal.screen.display)}
        good = next(n for line, n in rows.items() if "request_id=good-one" in line)
        bad = next(n for line, n in rows.items() if "request_id=bad-one" in line)
        code = len("12:34:56  ")
        assert terminal.screen.buffer[good][code].fg == "green"
        assert terminal.screen.buffer[bad][code].fg == "brown", "pyte's name of yellow"
        terminal.type(b"\x03")
        assert terminal.wait(PATIENCE_S) == 0


def test_in_a_pipe_text_is_plain_and_json_the_default(tmp_path: Path) -> None:
    (tmp_path / "leyden.yaml").write_text("log_format: text\n")
    with running([*SERVE, "--config", "leyden.yaml"], tmp_path) as server:
        use(server.stdout_line().removeprefix("ready: grpc "))
        eventually(lambda: "request_id=bad-one" in server.stderr)
        lines = [line for line in server.stderr.splitlines() if "request_id=" in line]
        assert re.match(r"\d\d:\d\d:\d\d  OK  .* s  GenerateImage  ", lines[0]), lines
        assert re.match(r"\d\d:\d\d:\d\d  INVALID_ARGUMENT  .*num_inference_steps", lines[1]), lines
        assert "\x1b" not in server.stderr
        server.interrupt()
        assert server.process.wait(PATIENCE_S) == 0
    with running([*SERVE, "--config", "leyden.yaml", "--log-format", "json"], tmp_path) as server:
        use(server.stdout_line().removeprefix("ready: grpc "))
        eventually(lambda: "bad-one" in server.stderr)
        told = [json.loads(line) for line in server.stderr.splitlines() if line.startswith("{")]
        assert [(one["request_id"], one["code"], one["protocol"]) for one in told] == [
            ("good-one", "OK", "leyden.v1"),
            ("bad-one", "INVALID_ARGUMENT", "leyden.v1"),
        ]
        server.interrupt()
        assert server.process.wait(PATIENCE_S) == 0
