"""The front door of `make test-cluster`; a part cannot pass by doing nothing."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.part import Part
from cluster.report import Report
from support.patience import PATIENCE_S

RUN = Path(__file__).resolve().parents[1] / "cluster" / "run.py"


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, RUN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_its_help_tells_the_parts() -> None:
    told = command("--help")
    assert told.returncode == 0, told.stderr
    assert "monitoring" in told.stdout
    assert "--without-ray" in command("monitoring", "--help").stdout


def test_a_part_that_there_is_not_is_refused() -> None:
    refused = command("monitorin")
    assert refused.returncode == 2
    assert "'monitorin'" in refused.stderr


def nothing(_options: argparse.Namespace, _report: Report) -> None:
    pass


def raises(_options: argparse.Namespace, report: Report) -> None:
    report.holds("what came before")
    raise ValueError("the port is taken")


@pytest.mark.parametrize(
    ("part", "asked_for", "row"),
    [
        (Part("", nothing), False, "FAILED it checks something"),
        (Part("", raises), False, "FAILED it runs to its end: ValueError: the port is taken"),
        (Part("", raises, missing=lambda: "no dog"), False, "skipped all of it: no dog"),
        (Part("", raises, missing=lambda: "no dog"), True, "FAILED all of it: no dog"),
    ],
)
def test_how_a_part_ends(part: Part, asked_for: bool, row: str) -> None:
    report = Report()
    with report.of("a part"):
        part.run_reported(argparse.Namespace(), report, asked_for=asked_for)
    last = report.rows[-1]
    assert f"{last.outcome} {last.check}: {last.seen}".startswith(row)
    assert report.failed == row.startswith("FAILED")
    assert "a part" in report.table().splitlines()[-1]
