"""`leyden bench` against a real server whose replies are written down beforehand."""

import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from support.patience import PATIENCE_S
from support.scripted_server import (
    Fail,
    Hold,
    ScriptedServer,
    Step,
    numbered,
    progress,
    queued,
    whole_script,
)

import leyden_client
from leyden_cli.main import main
from leyden_client import AsyncClient
from leyden_client.bench import (
    Limit,
    Sample,
    Spread,
    Workload,
    closed_loop,
    open_loop,
    poisson_arrivals,
    summarize,
)

COMMAND = [sys.executable, "-m", "leyden_cli", "bench"]


class InTurns(Sequence[Step]):
    """A script for each call; the last one for every further call."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = scripts
        self._calls = itertools.count()

    def __iter__(self) -> Iterator[Step]:
        call = next(self._calls)
        return iter(self._scripts[min(call, len(self._scripts) - 1)])

    def __len__(self) -> int:
        return len(self._scripts)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        raise NotImplementedError("a script is only iterated over")


@pytest.fixture(autouse=True)
def _address(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYDEN_SERVER", server.target)
    monkeypatch.setenv("PYTHONPATH", str(Path(leyden_client.__file__).parents[1]))
    monkeypatch.setenv("COLUMNS", "120")


def bench(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and the report that it wrote."""
    file = tmp_path / "bench.json"
    code = main(["bench", *arguments, "--json", str(file)])
    written: dict[str, Any] = json.loads(file.read_text())
    return code, written


def test_closed_loop_reports_what_was_billed(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = whole_script()
    code, written = bench(tmp_path, "--clients", "3", "--requests", "12", "--warm-up", "2")
    assert code == 0
    report = written["report"]
    assert (report["requests"], report["succeeded"], report["images"]) == (12, 12, 12)
    assert (report["rejected"], report["errors"]) == (0, {})
    # The script's bill.
    assert report["queue"]["p50"] == report["vae_decode"]["p99"] == 0.5
    assert (report["text_encode"]["p95"], report["image_encode"]["mean"]) == (0.25, 0.125)
    assert report["step"] == {"count": 24, "mean": 1, "p50": 1, "p95": 1, "p99": 1, "max": 1}
    assert report["mean_batch_rows"] == 3
    assert report["total"]["max"] == 3.75
    # The client's clock.
    assert 0 < report["first_event"]["p50"] <= report["first_progress"]["p50"]
    assert report["first_progress"]["p50"] <= report["latency"]["p50"] < PATIENCE_S
    assert report["images_per_s"] == pytest.approx(12 / report["span_s"])
    assert written["conditions"]["clients"] == 3
    out = capsys.readouterr().out
    assert "billed: image encode" in out
    assert "on average: 3.00" in out
    # Two of warm-up; prompts and seeds that are all different.
    assert len(server.requests) == 14
    assert len({request.prompt for request in server.requests}) == 14
    assert len({request.seed for request in server.requests}) == 14


def test_requests_are_as_asked(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = whole_script()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\n\n  two \n", encoding="utf-8")
    code, _ = bench(
        tmp_path,
        *("--rate", "400", "--requests", "20", "--warm-up", "0", "--steps", "4,8"),
        *("--prompts", str(prompts), "--width", "64", "--height", "32", "--model", "tiny"),
        *("--guidance", "1.5", "--count", "1", "--format", "webp", "--seed", "5"),
    )
    assert code == 0
    assert len(server.requests) == 20
    assert {request.num_inference_steps for request in server.requests} == {4, 8}
    assert {request.prompt for request in server.requests} == {"one", "two"}
    (request,) = {(r.model, r.width_px, r.height_px, r.guidance_scale) for r in server.requests}
    assert request == ("tiny", 64, 32, 1.5)
    assert sorted(request.seed for request in server.requests) == list(range(5, 25))


def test_failures_are_counted_by_code_and_rejected_ones_apart(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = [error_details_pb2.ErrorInfo(reason="QUEUE_FULL")]
    died = [error_details_pb2.ErrorInfo(reason="STAGE_DIED")]
    server.script = InTurns(
        whole_script(),
        [Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, details=full)],
        [*numbered(queued()), Fail(grpc.StatusCode.UNAVAILABLE, details=died)],
        numbered(queued(), progress(1)),  # ends without a summary
        whole_script(),
    )
    code, written = bench(tmp_path, "--requests", "5", "--warm-up", "0")
    report = written["report"]
    assert code == 0
    assert (report["succeeded"], report["rejected"]) == (2, 1)
    died_count, broken = report["errors"].items()
    assert died_count == ("UNAVAILABLE: STAGE_DIED", 1)
    assert broken[0].startswith("PROTOCOL_ERROR: ")
    assert report["latency"]["count"] == 2
    assert "1 x UNAVAILABLE: STAGE_DIED" in capsys.readouterr().out


def test_no_success_is_a_failure(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = [Fail(grpc.StatusCode.INTERNAL)]
    code, written = bench(tmp_path, "--requests", "2", "--warm-up", "0")
    assert code == 1
    assert written["report"]["errors"] == {"INTERNAL": 2}
    assert written["report"]["latency"] is None


def test_what_is_wrong_with_the_requests_is_said_before_the_load(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [Fail(grpc.StatusCode.NOT_FOUND, "there is no model 'x'")]
    assert main(["bench", "--model", "x", "--json", str(tmp_path / "bench.json")]) == 1
    assert "there is no model 'x'" in capsys.readouterr().err
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clients", "0"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--clients", "2", "--rate", "1"],
        ["--steps", "4,"],
        ["--steps", "0"],
        ["--duration", "-1"],
    ],
)
def test_wrong_usage(arguments: list[str], server: ScriptedServer) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert caught.value.code == 2
    assert not server.requests


def test_prompts_without_a_prompt(
    tmp_path: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "prompts.txt"
    empty.write_text("\n \n", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["bench", "--prompts", str(empty)])
    assert caught.value.code == 2
    assert f"there is no prompt in {empty}" in capsys.readouterr().err
    assert not server.requests


def test_ctrl_c_prints_what_was_measured(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = InTurns(whole_script(), whole_script(), whole_script(), [Hold()])
    file = tmp_path / "bench.json"
    command = [*COMMAND, "--warm-up", "1", "--json", str(file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as running:
        assert server.held.wait(PATIENCE_S)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130
    assert "to first denoise progress" in out
    assert err.splitlines() == ["warming up with 1 requests", "interrupted after 2 requests"]
    written = json.loads(file.read_text())
    assert written["conditions"]["interrupted"] is True
    assert written["report"]["succeeded"] == 2
    assert server.cancelled.wait(PATIENCE_S)


async def test_open_loop_counts_from_when_a_request_was_due(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    server.script = whole_script()
    samples: list[Sample] = []
    requests = Workload().requests()
    await closed_loop([async_client], requests, Limit(requests=1), samples.append)  # connects
    samples.clear()
    asyncio.get_running_loop().call_later(0.01, time.sleep, 0.5)
    await open_loop([async_client], requests, [0.05, 0.06], Limit(), samples.append)
    # Both were due while this process was held up, and were sent when it was not any more.
    assert {sample.planned_s for sample in samples} == {0.05, 0.06}
    assert all(sample.latency_s > 0.4 for sample in samples)


async def test_a_closed_loop_has_one_request_of_each_client(
    server: ScriptedServer, async_client: AsyncClient
) -> None:
    server.script = whole_script()
    samples: list[Sample] = []
    requests = Workload().requests()
    await closed_loop([async_client], requests, Limit(requests=6), samples.append)
    for one, after in itertools.pairwise(samples):
        assert one.ended_s <= after.planned_s
    samples.clear()
    await closed_loop([async_client], requests, Limit(duration_s=0.2), samples.append)
    assert all(sample.planned_s < 0.2 for sample in samples)
    assert samples[-1].ended_s > 0.15


def test_arrivals_are_a_poisson_process() -> None:
    arrivals = list(itertools.islice(poisson_arrivals(4.0, seed=3), 4000))
    gaps = [after - one for one, after in itertools.pairwise(arrivals)]
    assert statistics.fmean(gaps) == pytest.approx(1 / 4, rel=0.1)
    # Exponential gaps: their deviation is their mean.
    assert statistics.stdev(gaps) == pytest.approx(1 / 4, rel=0.1)
    assert arrivals == list(itertools.islice(poisson_arrivals(4.0, seed=3), 4000))
    assert arrivals[0] != next(poisson_arrivals(4.0, seed=4))


def test_a_workload_repeats_with_its_seed() -> None:
    first, again, other = (
        list(itertools.islice(Workload(steps=(4, 8), seed=seed).requests(), 50))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert [prompt for prompt, _ in first] != [prompt for prompt, _ in other]


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_percentiles_are_numpys(count: int) -> None:
    values = np.random.default_rng(count).exponential(size=count)
    spread = Spread.of(values.tolist())
    assert spread is not None
    expected = np.percentile(values, [50, 95, 99])
    assert [spread.p50, spread.p95, spread.p99] == pytest.approx(expected.tolist())
    assert (spread.count, spread.max) == (count, values.max())
    assert spread.mean == pytest.approx(values.mean())


def test_nothing_measured() -> None:
    report = summarize([])
    assert (report.requests, report.images_per_s, report.latency) == (0, 0.0, None)
