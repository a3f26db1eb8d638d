"""The harness of the clients finds what is wrong, and its table of cases can be read."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from clients.building import get
from clients.cases import Events, Expectation, ExpectedError, ExpectedLog, Image, read_cases
from clients.comparing import kind_of, log_differences, seen_differences, state_differences
from clients.languages.all import languages
from clients.languages.language import NotHereError
from clients.table import Outcome, Results

FILE = "f" * 64
EXPECTED = Expectation(events=Events(steps=2, least_previews=1), images=(Image(seed="7"),))
GOOD: dict[str, Any] = {
    "events": [
        {"kind": "queued", "index": 0},
        {"kind": "text_encoded", "index": 1},
        *(
            {
                "kind": "denoise_progress",
                "index": 1 + step,
                "image_index": 0,
                "step": step,
                "num_steps": 2,
                "bytes": 9,
            }
            for step in (1, 2)
        ),
        {"kind": "image", "index": 4, "image_index": 0},
        {"kind": "summary", "index": 5},
    ],
    "images": [
        {"image_index": 0, "seed": "7", "output_format": "PNG", "sha256": FILE, "bytes": 100}
    ],
    "summary": {"model": "tiny", "warnings": []},
    "left": None,
    "error": None,
}
ERROR: dict[str, Any] = {
    "type": "InvalidArgumentError",
    "code": "INVALID_ARGUMENT",
    "reason": "INVALID_FIELD",
    "message": "width_px: a multiple of 8",
    "violations": [{"field": "width_px", "description": "a multiple of 8"}],
    "retry_after_s": None,
}
REFUSED = Expectation(
    error=ExpectedError(
        kind="invalid argument",
        code="INVALID_ARGUMENT",
        reason="INVALID_FIELD",
        violations=("width_px",),
    )
)


def test_a_good_answer_has_no_difference() -> None:
    assert seen_differences(EXPECTED, GOOD, [FILE]) == []
    assert seen_differences(REFUSED, {"error": ERROR}, []) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("events", 2, "step"), 2),
        (("events", 3, "index"), 4),
        (("events", 4, "kind"), "summary"),
        (("events", 5, "kind"), "surprise"),
        (("events", 2, "num_steps"), 3),
        (("images", 0, "seed"), "8"),
        (("images", 0, "sha256"), "0" * 64),
        (("images", 0, "output_format"), "JPEG"),
        (("summary", "warnings"), ["NO_KNOWN_WORD"]),
        (("left",), "break"),
        (("error",), ERROR),
    ],
    ids=str,
)
def test_a_wrong_answer_is_found(path: tuple[Any, ...], value: object) -> None:
    answer = deepcopy(GOOD)
    entry: Any = answer
    for step in path[:-1]:
        entry = entry[step]
    entry[path[-1]] = value
    assert seen_differences(EXPECTED, answer, [FILE])


@pytest.mark.parametrize("number", range(len(GOOD["events"])))
def test_an_event_that_is_missing_or_comes_twice_is_found(number: int) -> None:
    events = GOOD["events"]
    for wrong in (
        [*events[:number], *events[number + 1 :]],
        [*events[: number + 1], *events[number:]],
    ):
        assert seen_differences(EXPECTED, {**GOOD, "events": wrong}, [FILE])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "NotFoundError"),
        ("code", "NOT_FOUND"),
        ("reason", ""),
        ("message", ""),
        ("violations", []),
        ("retry_after_s", 1.0),
    ],
)
def test_a_wrong_error_is_found(name: str, value: object) -> None:
    assert seen_differences(REFUSED, {"error": {**ERROR, name: value}}, [])


def test_other_metadata_of_an_error_are_found() -> None:
    expected = ExpectedError(kind="internal", code="INTERNAL", metadata={"error_id": "7"})
    said = {"type": "InternalError", "code": "INTERNAL", "message": "a defect"}
    for metadata, differs in (({"error_id": "7", "more": ""}, False), ({}, True)):
        answer = {"error": {**said, "metadata": metadata}}
        assert bool(seen_differences(Expectation(error=expected), answer, [])) is differs


def test_another_state_of_the_server_is_found() -> None:
    due = {
        "stages": [{"name": "vae", "kind": "VAE", "busy_share": None, "running_count": 1}],
        "gateways": [{"replica": "a", "uptime_s": 3.5}],
        "bottleneck": "",
        "bottleneck_reason": "idle",
    }
    assert state_differences(due, deepcopy(due), whole=True) == []
    assert state_differences(due, None, whole=False)
    for part, name, value, always in (
        ("stages", "kind", "DENOISER", True),
        ("stages", "busy_share", 0.0, False),
        ("gateways", "uptime_s", 4.0, False),
    ):
        seen: Any = deepcopy(due)
        seen[part][0][name] = value
        assert state_differences(due, seen, whole=True)
        assert bool(state_differences(due, seen, whole=False)) is always
    assert state_differences(due, {**due, "stages": []}, whole=False)


def test_work_that_went_on_is_found() -> None:
    expected = ExpectedLog(code="CANCELLED", reason="CANCELLED_BY_REQUEST", most_rows=60)
    line = {"code": "CANCELLED", "reason": "CANCELLED_BY_REQUEST", "unet_rows": 12}
    assert log_differences(expected, line) == []
    for wrong in ({"code": "OK"}, {"reason": None}, {"unet_rows": 100}):
        assert log_differences(expected, {**line, **wrong})


@pytest.mark.parametrize(
    "name",
    [
        "InvalidArgumentError",
        "Error::InvalidArgument",
        "KindInvalidArgument",
        "ErrInvalidArgument",
        "leyden.InvalidArgumentError",
        "ai.leyden.InvalidArgumentException",
    ],
)
def test_a_kind_is_known_by_the_habits_of_every_language(name: str) -> None:
    assert kind_of(name) == "invalidargument"


def test_a_toolchain_that_is_too_old_is_said_to_be(tmp_path: Path, monkeypatch: Any) -> None:
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho cargo 1.63.0\n", "utf-8")
    cargo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (rust,) = languages(["rust"])
    with pytest.raises(NotHereError, match=r"cargo is too old: it must be 1[.]88 or newer"):
        get(rust.tools)


def test_the_table_says_what_failed() -> None:
    results = Results(["one"], {"python": "Python", "go": "Go"})
    assert not results.passed, "nothing was run"
    results.outcomes["one", "python"] = Outcome("ok")
    results.not_run["go"] = "there is no go"
    assert results.passed
    assert results.count() == "1 passed, 0 failed, 1 skipped"
    assert "Go: not run: there is no go" in results.table()
    results.outcomes["one", "python"] = Outcome("FAILED")
    assert not results.passed


def test_the_table_of_cases_and_the_languages_are_read() -> None:
    names = {case.name for case in read_cases()}
    assert len(names) > 40
    for language in languages():
        assert language.compile_time <= names, language.name
        assert language.name == "python" or language.build, language.name
