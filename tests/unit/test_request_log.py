"""One JSON line a request."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leyden_server.generations.records import RequestLog, RequestRecord
from leyden_server.sampling import Sampling

SAMPLING = Sampling(7, 64, 48, 4, 0.0, "euler")


@contextmanager
def opened(path: Path) -> Iterator[RequestLog]:
    log = RequestLog(path, max_bytes=1_000_000, backups=1)
    try:
        yield log
    finally:
        log.close()


def test_each_request_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "requests.jsonl"
    with opened(path) as log, opened(path) as other_replicas:
        log.ended(RequestRecord(peer="ipv4:1", request_id="a", message="two\nlines é", code="OK"))
        other_replicas.ended(RequestRecord(peer="ipv4:2", request_id="b", sampling=SAMPLING))
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())

    assert (first["request_id"], first["message"], first["code"]) == ("a", "two\nlines é", "OK")
    assert (second["request_id"], second["seed"], second["width_px"]) == ("b", 7, 64)
    assert first["seed"] is None
    assert first["time"].endswith("+00:00")
    assert 0 <= first["duration_s"] < 60
    assert "started" not in first


def test_a_line_cannot_command_the_terminal_that_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    clear_screen = "\x1b[2J \x9b2J"
    with opened(path) as log:
        log.ended(RequestRecord(peer="ipv4:1", request_id=clear_screen, model=clear_screen))
    text = path.read_text(encoding="utf-8")

    assert not {"\x1b", "\x9b"} & set(text)
    assert json.loads(text)["request_id"] == clear_screen


def test_no_prompt_is_logged() -> None:
    assert not {"prompt", "negative_prompt"} & set(RequestRecord.__dataclass_fields__)


def test_a_defect_is_found_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    with pytest.raises(ValueError, match="inner") as caught:
        int("inner")
    with opened(path) as log:
        log.defect("id-1", caught.value)
    (line,) = map(json.loads, path.read_text(encoding="utf-8").splitlines())

    assert line["error_id"] == "id-1"
    assert "ValueError: invalid literal" in line["traceback"]
    assert "test_a_defect_is_found_by_its_id" in line["traceback"]


def test_the_page_has_every_field_in_its_order() -> None:
    page = Path(__file__).parents[2] / "docs" / "request_log.md"
    rows = re.findall(r"^\| (`.+?`) \| .+ \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == list(RequestRecord(peer="x").line())
