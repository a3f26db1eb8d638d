"""benchmarks/gpu.py, which times the stages on a GPU, kept alive at tiny size on a CPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "benchmarks" / "gpu.py"

RUN_SCRIPT = f"""
import runpy, sys
sys.modules.update(dict.fromkeys(("ray", "grpc")))  # importing either raises ImportError
sys.argv[0] = {str(SCRIPT)!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Inputs reach a prepared forward when it is made and never again: the mistake that captured
# graphs invite.
STALE_INPUTS = """
from leyden_server.accelerator.cuda_graphs import InputBuffers
fill = InputBuffers.fill
def fill_once(self, inputs):
    if not hasattr(self, "filled"):
        self.filled = True
        fill(self, inputs)
InputBuffers.fill = fill_once
"""

# dynamo traces and guards as ever; its `eager` backend needs no C++ compiler.
COMPILE = ("--compile-backend", "eager")


def run_script(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + RUN_SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_tiny_run_measures_every_stage_and_agrees_with_float32(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    asked = ["--tiny", "--dtype", "bfloat16", "--executions", "eager", "compile", *COMPILE]

    done = run_script(*asked, "--profile", "--json", str(file))

    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert figures["complete"]
    assert figures["failures"] == []
    rows = figures["rows"]
    assert [(row["stage"], row["execution"], row["rows"]) for row in rows] == [
        ("text_encoders", "eager", 1),
        ("text_encoders", "eager", 2),
        ("vae", "eager", 1),
        ("vae", "eager", 2),
        ("vae", "compile", 1),
        ("vae", "compile", 2),
        ("denoiser", "eager", 1),
        ("denoiser", "eager", 2),
        ("denoiser", "compile", 1),
        ("denoiser", "compile", 2),
    ]
    for row in rows:
        check_row(row)
    assert [row["execution"] for row in figures["whole_images"]] == ["eager"] * 2 + ["compile"] * 2
    for whole in figures["whole_images"]:
        parts = whole["text_ms"] + whole["denoise_ms"] + whole["decode_ms"]
        assert whole["image_ms"] == pytest.approx(parts)
        assert whole["images_per_s"] == pytest.approx(1000 / parts)
    assert {one["execution"] for one in figures["profile"]} == {"eager", "compile"}
    assert figures["matmul_tflops"] > 0
    assert figures["machine"]["packages"]["torch"]
    assert all(one["figure"] and one["source"] for one in figures["published"])
    for heading in ("Text encoders", "Denoiser", "Image decoder", "A whole image", "Published"):
        assert heading in done.stdout


def check_row(row: dict[str, Any]) -> None:
    for clock in ("device_ms", "wall_ms"):
        times = row[clock]
        assert 0 < times["min"] <= times["p10"] <= times["median"] <= times["p90"]
    assert row["tflops"] > 0
    assert row["share_of_matmul_peak"] > 0
    error = row["error"]
    # bfloat16 is never float32 exactly; an error of 0 would be a comparison with itself.
    assert 0 < error["relative"] <= error["tolerance"]
    assert 0 < error["mean_abs"] <= error["max_abs"]
    if row["stage"] == "denoiser":
        assert row["images_per_s"] > 0
        assert min(row["wrong_prompt_would_show_as"], row["wrong_timestep_would_show_as"]) > 0.1


def test_stale_inputs_fail_the_run(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    asked = ["--tiny", "--stages", "denoiser", "--rows", "2", "--executions", "compile", *COMPILE]

    done = run_script(*asked, "--json", str(file), before=STALE_INPUTS)

    assert done.returncode == 1, done.stderr
    (row,) = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert not row["error"]["agrees"]
    assert "FAILED" in done.stdout


def test_full_size_architecture_holds_and_computes_what_sdxl_does() -> None:
    done = run_script("--count", "--sizes", "512", "1024")

    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    # Parameters as published with SDXL (Podell et al. 2023, arXiv 2307.01952, table 1: UNet
    # 2.6 B, text encoders 817 M), to the digit those of the public checkpoints.
    assert counted["parameters"] == {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    }
    assert counted["unet_tflop_a_row"] == pytest.approx({"512": 1.589, "1024": 6.761}, rel=1e-3)
    assert counted["vae_decode_tflop_an_image"]["1024"] == pytest.approx(10.470, rel=1e-3)
    assert counted["text_encoders_tflop_a_prompt"] == pytest.approx(0.1112, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tiny", "--executions", "compile_cuda_graphs"], "needs --device cuda"),
        (["--tiny", "--executions", "cuda_graphs"], "cuda_graphs needs --device cuda"),
        (["--tiny", "--sizes", "60"], "a multiple of 32"),
        (["--tiny", "--rows", "0"], "must be at least 1"),
        (["--tiny", "--fp8"], "--fp8: all else is in bfloat16"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], message: str) -> None:
    done = run_script(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
