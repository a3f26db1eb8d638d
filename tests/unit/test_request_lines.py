"""The request log for people: a line of text for each line of JSON."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from leyden_cli.server.request_lines import shown_as
from leyden_server.generations.records import RequestLog, RequestRecord
from leyden_server.sampling import Sampling

SAMPLING = Sampling(
    seed=7,
    width_px=256,
    height_px=128,
    num_inference_steps=4,
    guidance_scale=0.0,
    solver="euler",
)
text = shown_as("text", colour=False)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def logged(tmp_path: Path, **fields: Any) -> str:
    """Return the line that the log has of such a request, as if it had taken 1.5 s."""
    log = RequestLog(tmp_path / "requests.jsonl")
    log.ended(RequestRecord(**{"peer": "ipv4:127.0.0.1:5", "started": 1e9, **fields}))
    log.close()
    line = (tmp_path / "requests.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return json.dumps(json.loads(line) | {"duration_s": 1.5}) + "\n"


def test_a_request_is_one_aligned_line(tmp_path: Path) -> None:
    made = {
        "code": "OK",
        "method": "leyden.v1.ImageGenerationService/GenerateImage",
        "request_id": "r-1",
        "model": "tiny",
        "image_count": 2,
        "sampling": SAMPLING,
        "queue_s": 0.25,
        "key": "alice",
    }
    refused = {
        "code": "INVALID_ARGUMENT",
        "reason": "INVALID_FIELD",
        "message": "width_px: 64 to 512",
        "method": "inference.GRPCInferenceService/ModelInfer",
    }
    ok, bad = lines = text(logged(tmp_path, **made) + logged(tmp_path, **refused)).splitlines()
    assert ok == (
        "01:46:40  OK                      1.500 s  GenerateImage     tiny  2 x 256x128  4 steps"
        "  waited 0.250 s  request_id=r-1 key=alice peer=ipv4:127.0.0.1:5"
    )
    assert bad == (
        "01:46:40  INVALID_ARGUMENT        1.500 s  ModelInfer        "
        "INVALID_FIELD: width_px: 64 to 512  peer=ipv4:127.0.0.1:5"
    )
    assert "\x1b" not in "".join(lines)


def test_colour_says_whose_a_failure_is(tmp_path: Path) -> None:
    coloured = shown_as("text", colour=True)
    shades = [
        coloured(logged(tmp_path, code=code)).partition("m")[0]
        for code in ("OK", "CANCELLED", "INTERNAL")
    ]
    assert [shade[-4:] for shade in shades] == ["\x1b[32", "\x1b[33", "\x1b[31"]


def test_a_line_cannot_command_the_terminal_nor_pass_for_two(tmp_path: Path) -> None:
    wild = "\x1b[2J\x9b2J\nOK"
    shown = text(logged(tmp_path, code="OK", request_id=wild, model=wild, message=wild))
    assert not {"\x1b", "\x9b"} & set(shown)
    assert shown.count("\n") == 1


def test_a_defect_is_shown_with_its_traceback(tmp_path: Path) -> None:
    line = json.dumps({"error_id": "id-1", "traceback": "Traceback:\n  x\nValueError: y\n"})
    assert text(line) == "error id-1\nTraceback:\n  x\nValueError: y\n"


@pytest.mark.parametrize("line", ["no json", "[1]", '{"time": 5}', "{}"])
def test_a_line_of_another_kind_is_shown_as_it_is(line: str) -> None:
    assert text(line) == f"{line}\n"


def test_json_is_what_the_file_has(tmp_path: Path) -> None:
    line = logged(tmp_path, code="OK")
    assert shown_as("json", colour=True)(line) == line
