"""`leyden generate --detach`, `watch` and `cancel`, and images on stdout."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from support.patience import PATIENCE_S
from support.scripted_server import (
    Fail,
    Hold,
    ScriptedServer,
    asked,
    image,
    numbered,
    progress,
    queued,
    seconds,
    summary,
    whole_script,
)

import leyden_client
from leyden.v1 import image_generation_service_pb2 as pb
from leyden_cli.main import main

COMMAND = [sys.executable, "-m", "leyden_cli"]
# Bytes that are no text in any encoding.
PIXELS = bytes(range(256))
LOST = Fail(grpc.StatusCode.UNAVAILABLE, "Socket closed")


@pytest.fixture(autouse=True)
def _address(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYDEN_SERVER", server.target)
    monkeypatch.setenv("PYTHONPATH", str(Path(leyden_client.__file__).parents[1]))


def wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# ---- generate --detach ------------------------------------------------------------


def test_detach_prints_the_name_and_leaves(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [*whole_script()[:1], Hold()]
    assert main(["generate", "a prompt", "--detach", "--priority", "9"]) == 0
    (request,) = server.requests
    assert capsys.readouterr() == (f"{request.request_id}\n", "")
    assert request.linger_duration == seconds(600)
    assert asked(request) == pb.GenerateImageRequest(
        prompt="a prompt", image_count=1, output_format=pb.OUTPUT_FORMAT_PNG, priority=9
    )
    assert server.cancelled.wait(PATIENCE_S)
    assert server.cancels == []


def test_detach_with_a_linger_and_a_format(server: ScriptedServer) -> None:
    server.script = whole_script()
    argv = ["generate", "p", "--detach", "--linger", "30", "--format", "webp", "--count", "2"]
    assert main(argv) == 0
    (request,) = server.requests
    assert request.linger_duration == seconds(30)
    assert (request.output_format, request.image_count) == (pb.OUTPUT_FORMAT_WEBP, 2)


def test_a_detached_request_that_is_refused(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    info = error_details_pb2.ErrorInfo(reason="QUEUE_FULL")
    server.script = [Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", [info])]
    assert main(["generate", "p", "--detach"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: the queue is full\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-o", "a.png"], "--detach leaves before there is anything for -o"),
        (["--json"], "anything for --json"),
        (["--previews", "steps"], "anything for --previews"),
        (["--linger", "0"], "a --linger above 0"),
    ],
)
def test_what_does_not_go_with_detach(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert message in wrong_usage(["generate", "p", "--detach", *argv], capsys)
    assert server.requests == []


# ---- watch ------------------------------------------------------------------------


def test_watch_shows_every_step_and_writes_the_image(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = pb.Warning(reason="PROMPT_TRUNCATED", field="prompt", message="it was cut")
    server.watch_script = whole_script(PIXELS, warnings=[warning])
    output = tmp_path / "out.png"
    assert main(["watch", "mine", "-o", str(output)]) == 0
    assert output.read_bytes() == PIXELS
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{output}  seed 7  64 x 32 px  0.3 kB",
        "tiny took 3.75 s (queue 0.50, text 0.25, denoise 2.00, decode and encode 0.62)",
    ]
    assert err.splitlines() == [
        "queued, 2 ahead, about 1.5 s to wait",
        "text encoded (9 tokens)",
        "image 0: step 1 of 2, 0.2 s since the start, 0.2 s left",
        "image 0: step 2 of 2, 0.5 s since the start, 0.0 s left",
        f"image 0: written to {output}",
        "warning: it was cut (PROMPT_TRUNCATED)",
    ]
    assert server.watches[0].request_id == "mine"


def test_watch_of_several_images(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.watch_script = numbered(
        progress(2, image_index=1), image(b"1", 1), image(b"0", 0), image(b"2", 2), summary(3)
    )
    assert main(["watch", "mine", "-o", str(tmp_path / "out.jpg")]) == 0
    names = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert names == {"out.jpg": b"0", "out-1.jpg": b"1", "out-2.jpg": b"2"}
    assert f"warning: {tmp_path / 'out-2.jpg'} holds a PNG" in capsys.readouterr().err


def test_watch_after_an_event_writes_nothing_unless_told(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.watch_script = whole_script()[3:]
    assert main(["watch", "mine", "--after", "2"]) == 0
    out, err = capsys.readouterr()
    assert server.watches[0].after_event_index == 2
    assert out.splitlines()[0] == "image 0  seed 7  64 x 32 px  0.0 kB"
    assert err.splitlines() == [
        "image 0: step 2 of 2, 0.5 s since the start, 0.0 s left",
        "image 0: ready",
    ]


def test_watch_as_json(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.watch_script = whole_script()
    assert main(["watch", "mine", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event_index"] for event in events] == list(range(6))
    assert (events[4]["size_bytes"], events[4]["path"]) == (6, None)


def test_watch_of_a_generation_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "nobody"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: no such generation",
        "reason: GENERATION_NOT_FOUND",
        "a generation is known while it runs, and for its --linger after its end",
    ]


def test_ctrl_c_leaves_what_is_watched_as_it_is(server: ScriptedServer, tmp_path: Path) -> None:
    server.watch_script = [*whole_script()[:3], Hold()]
    process = subprocess.Popen(
        [*COMMAND, "watch", "mine", "-o", str(tmp_path / "out.png")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        while "step 1 of 2" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr.read() == "interrupted; the generation goes on\n"
    assert server.cancels == []


def test_watch_on_a_terminal_finds_out_how_many_images_there_are(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.watch_script = numbered(
        queued(), progress(1, image_index=2), image(b"0", 0), image(b"2", 2), summary(3)
    )
    ours, theirs = pty.openpty()
    # No more than a pty holds is written: nobody reads it before the end.
    subprocess.run(
        [*COMMAND, "watch", "mine", "-o", "out.png"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert all(f"image {index}" in shown for index in range(3))
    assert "written to out-2.png" in shown


# ---- cancel -----------------------------------------------------------------------


def test_cancel(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cancel", "mine"]) == 0
    assert server.cancels == ["mine"]
    assert capsys.readouterr().out == ""


def test_cancel_of_a_generation_that_is_not_known(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    info = error_details_pb2.ErrorInfo(reason="GENERATION_NOT_FOUND")
    server.cancel_fails = Fail(grpc.StatusCode.NOT_FOUND, "no such generation", [info])
    assert main(["cancel", "mine"]) == 1
    assert "no such generation" in capsys.readouterr().err


def test_a_generation_that_someone_cancelled(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    info = error_details_pb2.ErrorInfo(reason="CANCELLED_BY_REQUEST")
    server.watch_script = [Fail(grpc.StatusCode.CANCELLED, "it was cancelled", [info])]
    assert main(["watch", "mine"]) == 1
    assert "again" not in capsys.readouterr().err


# ---- an image on stdout -----------------------------------------------------------


def test_an_image_on_stdout_is_all_that_is_there(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = server.watch_script = whole_script(PIXELS)
    for argv in (["generate", "p", "-o", "-"], ["watch", "mine", "-o", "-"]):
        done = subprocess.run([*COMMAND, *argv], capture_output=True, check=True, cwd=tmp_path)
        assert done.stdout == PIXELS
        assert b"image 0: written to stdout" in done.stderr
        assert b"stdout  seed 7" in done.stderr
        assert b"tiny took 3.75 s" in done.stderr
    assert server.requests[0].output_format == pb.OUTPUT_FORMAT_PNG
    assert list(tmp_path.iterdir()) == []


def test_stdout_takes_one_image(
    server: ScriptedServer, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    server.watch_script = numbered(image(b"one", 1), image(PIXELS, 0), summary(2))
    assert main(["watch", "mine", "-o", "-"]) == 0
    out, err = capsysbinary.readouterr()
    assert out == PIXELS
    assert b"image 1 is not written: stdout takes one image" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["generate", "p", "-o", "-", "--json"], "-o - and --json both want stdout"),
        (["watch", "mine", "-o", "-", "--json"], "-o - and --json both want stdout"),
        (["generate", "p", "-o", "-", "--count", "2"], "-o - takes one image"),
    ],
)
def test_what_does_not_go_with_stdout(
    capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert message in wrong_usage(argv, capsys)


def test_a_terminal_is_spared_an_image(server: ScriptedServer) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "generate", "p", "-o", "-"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"and that is a terminal" in done.stderr
    assert server.requests == []


# ---- a connection that breaks -----------------------------------------------------


def test_generate_comes_back_by_itself(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = whole_script(PIXELS)
    server.script = [*script[:3], LOST]
    server.watch_script = script[3:]
    output = tmp_path / "out.png"
    assert main(["generate", "p", "-o", str(output)]) == 0
    assert output.read_bytes() == PIXELS
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_linger_0_does_not(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [*whole_script()[:3], LOST]
    assert main(["generate", "p", "-o", str(tmp_path / "out.png"), "--linger", "0"]) == 1
    assert server.watches == []
