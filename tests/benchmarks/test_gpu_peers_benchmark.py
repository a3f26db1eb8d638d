"""A tiny pass of the benchmark that sets Leyden beside its peers on one card."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu_peers import COMPILED, EAGER, LEYDEN, TRITON, leyden_over
from benchmarks.on_gpu.loops import done, figures
from benchmarks.on_gpu.triton_peer import TritonPeer
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.models import EMBEDDED
from benchmarks.peers.running import running
from support.patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_tiny_pass_measures_all_that_can_be_had_and_names_what_cannot(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    asked = ["--tiny", "--requests", "3", "--arrivals", "4", "--compile-backend", "eager"]
    asked += ["--triton-python", sys.executable, "--leyden", "in-process"]
    with subprocess.Popen(
        [sys.executable, "benchmarks/gpu_peers.py", *asked, "--json", str(file)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _, stderr = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it stops its server
            raise
    assert process.returncode == 0, stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["complete"]
    peers = {row["name"]: row for row in found["peers"]}
    assert list(peers) == [EAGER, TRITON, LEYDEN["in-process"], COMPILED]
    assert "No module named 'pytriton'" in peers.pop(TRITON)["not_run"]
    for row in peers.values():
        check_peer(row)
    # The same noise gives the same image, served or not.
    assert peers[EAGER]["same_image"]["mean_difference"] == 0
    assert peers[LEYDEN["in-process"]]["same_image"]["mean_difference"] < 0.1
    # Only Leyden says something before the image.
    assert peers[EAGER]["open"]["first_step_s"] is None
    ours = peers[LEYDEN["in-process"]]
    for loop in (*ours["closed"], ours["open"]):
        assert loop["first_step_s"]["median"] < loop["latency_s"]["median"]
        assert 0 < loop["of_which_s"]["steps"] < loop["of_which_s"]["total"]
    capacities = [
        max(loop["images_per_s"] for loop in peers[name]["closed"]) for name in (EAGER, COMPILED)
    ]
    assert found["open_loop"]["images_per_s"] == pytest.approx(0.7 * max(capacities))
    over = found["leyden_over"][LEYDEN["in-process"]]
    assert over["clients_over_best_peer"] <= over["clients_over_diffusers"]


def check_peer(row: dict[str, Any]) -> None:
    assert row["start_to_ready_s"] > 0
    assert row["same_image"]["mean_difference_upside_down"] > 10
    assert [loop["clients"] for loop in row["closed"]] == [1, 8]
    for loop in (*row["closed"], row["open"]):
        assert 0 < loop["first_event_s"]["median"] <= loop["latency_s"]["median"]
        assert loop["latency_s"]["median"] <= loop["latency_s"]["p95"]
    assert all(loop["images_per_s"] > 0 for loop in row["closed"])


def test_a_served_peer_is_asked_in_both_loops_by_a_process_of_its_own() -> None:
    """By bare gRPC, which needs no venv; Triton's client differs in its transport alone."""
    contestant = CONTESTANTS["bare_grpc"]
    settings = next(iter(contestant.settings.values()))
    started_s = time.perf_counter()
    with running(contestant, sys.executable, EMBEDDED, settings) as server:
        served = TritonPeer(server, sys.executable, started_s, transport="bare_grpc")
        picture = served.picture()
        closed = served.closed(2, 5)
        arrived = served.open([0.0, 0.1, 0.2])
    assert served.start_to_ready_s > 0
    assert picture.shape == (256, 256, 3)
    assert picture.std() > 10
    assert len(closed) >= 5
    assert all(sample.ended_s > sample.planned_s >= 0 for sample in closed)
    assert [sample.planned_s for sample in sorted(arrived, key=lambda one: one.planned_s)] == (
        pytest.approx([0.0, 0.1, 0.2])
    )
    assert all(sample.ended_s > sample.planned_s for sample in arrived)


def test_figures_count_from_when_an_image_was_due() -> None:
    samples = [done(planned, planned + 1 + planned / 10) for planned in range(20)]
    found = figures(samples)
    assert found["latency_s"] == {"median": pytest.approx(1.95), "p95": pytest.approx(2.8)}
    assert found["first_event_s"] == found["latency_s"]
    assert found["first_step_s"] is None
    assert "images_per_s" not in found
    assert figures(samples, clients=1)["images_per_s"] == pytest.approx(18 / (18 * 1.1))


def peer(name: str, latency_s: float, rate: float) -> dict[str, Any]:
    closed = [
        {"clients": 1, "latency_s": {"median": latency_s}, "images_per_s": 1 / latency_s},
        {"clients": 8, "latency_s": {"median": 8 / rate}, "images_per_s": rate},
    ]
    return {"name": name, "closed": closed}


def test_leyden_is_set_beside_diffusers_and_the_best_of_each_figure() -> None:
    peers = [
        peer(EAGER, 0.4, 5.0),
        peer(COMPILED, 0.2, 4.0),
        {"name": TRITON, "not_run": "not here"},
        peer(LEYDEN["split"], 0.1, 10.0),
    ]
    assert leyden_over(peers) == {
        LEYDEN["split"]: {
            "one_client_of_best_peer": 0.5,
            "clients_over_best_peer": 2.0,
            "one_client_of_diffusers": 0.25,
            "clients_over_diffusers": 2.0,
        }
    }
    assert leyden_over(peers[3:]) == {}
    assert "one_client_of_diffusers" not in leyden_over(peers[1:])[LEYDEN["split"]]
