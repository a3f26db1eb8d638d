"""A tiny pass of the benchmark that sets the whole server beside diffusers."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_tiny_pass_gives_the_same_image_as_diffusers_and_every_figure(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    asked = ["--tiny", "--requests", "3", "--clients", "1", "2", "--batches", "1", "2"]
    with subprocess.Popen(
        [sys.executable, "benchmarks/gpu_server.py", *asked, "--json", str(file)],
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
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert figures["same_image"]["mean_difference"] < 0.1
    assert figures["same_image"]["mean_difference_upside_down"] > 10
    assert figures["complete"]
    assert [one["images_at_once"] for one in figures["diffusers"]] == [1, 2]
    assert [one["clients"] for one in figures["leyden"]] == [1, 2]
    for loop in figures["leyden"]:
        parts = loop["of_which_s"]
        assert 0 < loop["first_progress_s"] < loop["latency_s"]["median"]
        assert loop["latency_s"]["median"] <= loop["latency_s"]["p95"]
        assert 0 < parts["steps"] < parts["total"]
        assert loop["images_per_s"] > 0
