"""`leyden demo`: one picture, and nothing left behind."""

import re
from pathlib import Path

import pytest
from cli.conftest import leyden, running
from support.patience import PATIENCE_S
from support.running_server import eventually


@pytest.mark.parametrize("during", ["importing torch", "loading"])
def test_a_demo_that_is_terminated_takes_its_server_along(tmp_path: Path, during: str) -> None:
    with running(["demo"], tmp_path) as demo:
        eventually(lambda: during in demo.stderr)
        demo.process.terminate()
        assert demo.process.wait(PATIENCE_S) == 130
        assert "Traceback" not in demo.stderr
        eventually(lambda: not demo.descendants())


def test_the_demo_makes_its_picture_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(["demo"], tmp_path) as demo:
        assert demo.process.wait(PATIENCE_S) == 0, demo.stderr
        assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
        told = [x.partition(" ")[2] for x in demo.stderr.splitlines() if x.startswith("demo: ")]
        *steps, end = (line.split(";")[0] for line in told)
        assert steps == [
            "starting a server on a free port with the model that Leyden ships",
            "the server is ready",
            "stopping the server",
        ]
        assert re.fullmatch(r"demo\.png is there after \d+ s", end)
        assert "running: leyden generate 'A serene mountain lake" in told[1]
        eventually(lambda: not demo.descendants())


def test_a_demo_that_cannot_write_its_picture_says_so_first(tmp_path: Path) -> None:
    result = leyden("demo", "-o", str(tmp_path / "missing" / "x.png"))
    assert result.returncode == 1
    assert result.stderr == f"error: --output: {tmp_path / 'missing'} is not a folder\n"
