"""The comparison with peers: its arithmetic, its words, and one peer that needs no venv."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks.peers.__main__ import parse_arguments
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.environments import UnavailableError
from benchmarks.peers.measure import Run, measure, reference_pictures
from benchmarks.peers.models import EMBEDDED
from benchmarks.peers.report import lead, percentile, summary
from benchmarks.peers.running import MARK


def _load(clients: int, latencies_s: list[float], elapsed_s: float) -> dict[str, Any]:
    return {
        "clients": clients,
        "latencies_s": latencies_s,
        "elapsed_s": elapsed_s,
        "mean_size_bytes": 1000,
    }


def _run(name: str, difference: int, *loads: dict[str, Any]) -> Run:
    return Run(name, "some", max_pixel_difference={"alone": difference}, loads=list(loads))


def test_passes_are_summed_up_and_each_is_shown() -> None:
    passes = (
        _run("leyden", 0, _load(4, [0.1] * 20, 1.0)),
        _run("leyden", 1, _load(4, [0.3] * 10, 1.0)),
    )
    figures = summary(passes)
    assert figures["max_pixel_difference"] == {"alone": 1}
    assert figures["clients"][4]["images"] == 30
    assert figures["clients"][4]["images_per_s"] == pytest.approx(15)
    assert figures["clients"][4]["images_per_s_of_passes"] == pytest.approx([20, 10])
    assert figures["clients"][4]["latency_p50_ms"] == pytest.approx(100)
    assert figures["clients"][4]["latency_p95_ms"] == pytest.approx(300)


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (90, 9), (100, 10)])
def test_percentiles_are_values_that_were_measured(percent: int, expected: int) -> None:
    assert percentile(range(10, 0, -1), percent) == expected


def test_the_lead_is_over_the_best_peer() -> None:
    figures = {
        "leyden": summary([_run("leyden", 0, _load(1, [0.2], 1), _load(16, [1.0] * 30, 1))]),
        "slow": summary([_run("slow", 0, _load(1, [0.3], 1), _load(16, [1.0] * 5, 1))]),
        "fast": summary([_run("fast", 0, _load(1, [0.1], 1), _load(16, [1.0] * 10, 1))]),
    }
    at_1, at_16 = lead(figures, 1), lead(figures, 16)
    assert at_1 is not None
    assert at_16 is not None
    assert (at_1[1], at_16[1]) == ("fast", "fast")
    assert (at_1[0], at_16[0]) == pytest.approx((0.5, 3))
    assert lead({"leyden": figures["leyden"]}, 16) is None
    slower = summary([_run("leyden", 0, _load(16, [1.0] * 20, 1))])
    settings = {"leyden: a": slower, "leyden: b": figures["leyden"], "fast: a": figures["fast"]}
    of_settings = lead(settings, 16)
    assert of_settings is not None
    assert of_settings[1] == "fast: a"
    assert of_settings[0] == pytest.approx(3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "litserve,torchserve"], "no peer 'torchserve'; there are leyden, bare_grpc"),
        (["--model", "here={tmp_path}"], "has no model_index.json"),
        (["--passes", "0"], "must be above 0"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([argument.format(tmp_path=tmp_path) for argument in arguments])
    assert said in capsys.readouterr().err


def test_a_peer_is_driven_compared_with_diffusers_and_stopped(tmp_path: Path) -> None:
    """Bare diffusers: what its venv has, this one has too."""
    run = measure(
        CONTESTANTS["bare_grpc"],
        sys.executable,
        EMBEDDED,
        next(iter(CONTESTANTS["bare_grpc"].settings)),
        reference_pictures(EMBEDDED, tmp_path),
        clients=(1, 2),
        seconds=0.2,
        first_number=0,
        report=lambda _: None,
    )
    assert set(run.max_pixel_difference) == {"alone", "among-others"}
    assert max(run.max_pixel_difference.values()) <= 1
    assert [load["clients"] for load in run.loads] == [1, 2]
    for load in run.loads:
        assert len(load["latencies_s"]) >= load["clients"]
        assert max(load["latencies_s"]) <= load["elapsed_s"]
    assert not _left_over()


def test_a_server_that_ends_is_a_reason_and_not_a_wait(tmp_path: Path) -> None:
    broken = replace(
        CONTESTANTS["bare_grpc"],
        command=lambda python, *_: [python, "-c", "raise SystemExit('no such disk')"],
    )
    with pytest.raises(UnavailableError, match=r"its server ended with 1; .*no such disk"):
        measure(
            broken,
            sys.executable,
            EMBEDDED,
            next(iter(broken.settings)),
            tmp_path,
            clients=(1,),
            seconds=0.1,
            first_number=0,
            report=lambda _: None,
        )
    assert not _left_over()


def _left_over() -> list[int]:
    """Return the servers' processes that this process started and that are still there."""
    return [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if MARK in process.environ()
    ]
