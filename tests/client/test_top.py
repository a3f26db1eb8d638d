"""`leyden top`: in a terminal, into a pipe, once."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from google.protobuf.duration_pb2 import Duration
from support.fake_terminal import FakeTerminal
from support.patience import PATIENCE_S
from support.scripted_server import ScriptedServer
from support.terminal_session import PACKAGE_ROOT, PLAIN_TERMINAL, assert_clean

from leyden.v1 import model_service_pb2 as pb
from leyden_cli.main import main
from leyden_cli.top import _duration
from leyden_client import Client, StageKind

OTHER_SCREEN = 1049 << 5
"""As pyte has a terminal's mode that it does not know."""


def state(busy_share: float = 0.97) -> pb.GetServerStateResponse:
    return pb.GetServerStateResponse(
        stages=[
            pb.StageState(
                name="leyden-text-encoder-1",
                kind=pb.STAGE_KIND_TEXT_ENCODER,
                models=["first", "second"],
                wanted_replicas=1,
            ),
            pb.StageState(
                name="leyden-denoiser-first",
                kind=pb.STAGE_KIND_DENOISER,
                models=["first"],
                running_replicas=1,
                wanted_replicas=3,
                running_count=8,
                waiting_count=12,
                busy_share=busy_share,
            ),
        ],
        gateways=[
            pb.GatewayState(
                replica="leyden-gateway#1",
                uptime_duration=Duration(seconds=3725),
                open_stream_count=20,
                waiting_image_count=12,
                draining=True,
            )
        ],
        bottleneck="leyden-denoiser-first",
        bottleneck_reason="leyden-denoiser-first ran for 97% of the last 10 s.",
    )


@pytest.fixture(autouse=True)
def _state(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.state = state()
    monkeypatch.setenv("LEYDEN_SERVER", server.target)


def test_the_client_reads_all_of_it(client: Client) -> None:
    read = client.get_server_state()
    text, unet = read.stages
    assert (text.kind, text.models, text.busy_share) == (
        StageKind.TEXT_ENCODER,
        ("first", "second"),
        None,
    )
    assert (unet.running_replicas, unet.wanted_replicas) == (1, 3)
    assert (unet.running_count, unet.waiting_count, unet.busy_share) == (8, 12, 0.97)
    (gateway,) = read.gateways
    assert (gateway.uptime_s, gateway.draining, gateway.open_stream_count) == (3725, True, 20)
    assert read.bottleneck == unet.name


def test_a_table_once(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "stage models replicas running waiting busy",
        "leyden-text-encoder-1 first, second 0/1 0 0 -",
        f"leyden-denoiser-first first 1/3 8 12 97% {'#' * 19}.",
        "",
        "gateway up streams waiting",
        "leyden-gateway#1 1 h 2 min 20 12 draining",
        "",
        "leyden-denoiser-first ran for 97% of the last 10 s.",
    ]
    assert server.looks == 1


def test_json_once(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    read = json.loads(line)
    assert read["bottleneck"] == "leyden-denoiser-first"
    assert read["stages"][0]["busy_share"] is None
    assert read["stages"][1]["kind"] == "denoiser"
    assert server.looks == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5.9, "5 s"), (61, "1 min 1 s"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_a_time_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


def test_into_a_pipe_it_goes_on_until_ctrl_c(server: ScriptedServer) -> None:
    command = [sys.executable, "-m", "leyden_cli", "top", "--json", "--interval", "0.05"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["gateways"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr.read() == "interrupted\n"
    assert server.looks >= 3


@contextmanager
def top(server: ScriptedServer, *options: str) -> Iterator[FakeTerminal]:
    environ = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": PACKAGE_ROOT,
        "LEYDEN_SERVER": server.target,
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }
    command = [sys.executable, "-m", "leyden_cli", "top", "--interval", "0.05", *options]
    with FakeTerminal(command, environ, answers=PLAIN_TERMINAL) as shown:
        yield shown


def test_it_is_drawn_anew_on_a_terminal_until_ctrl_c(server: ScriptedServer) -> None:
    with top(server) as shown:
        shown.until(lambda: "97%" in shown.printed())
        server.state = state(0.25)
        shown.until(lambda: "25%" in shown.printed() and "97% #" not in shown.printed())
        # A window that is made smaller is drawn at its new size.
        fcntl.ioctl(shown._ours, termios.TIOCSWINSZ, struct.pack("4H", 12, 70, 0, 0))
        shown.screen.resize(12, 70)
        looks = server.looks
        shown.until(lambda: server.looks > looks + 2)
        shown.until(lambda: any("leyden-gateway#1" in line for line in shown.lines()))
        assert OTHER_SCREEN in shown.screen.mode
        shown.type(b"\x03")
        assert shown.wait(PATIENCE_S) == 0
        # What was there before is there again, which pyte does not show, and the cursor.
        assert OTHER_SCREEN not in shown.screen.mode
        assert not shown.screen.cursor.hidden
        assert shown.modes_after == shown.modes_before


def test_where_it_is_not_allowed_or_there_is_no_server_the_terminal_says_so(
    server: ScriptedServer,
) -> None:
    with top(server, "--server", "127.0.0.1:1", "--timeout", "5") as shown:
        assert shown.wait(PATIENCE_S) == 1
        assert "is not there" in shown.printed()
        assert_clean(shown)
