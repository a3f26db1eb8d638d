"""The report of all GPU measurements: its parts' ends, its figures, and a tiny run on a CPU."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks.on_gpu.asked_figures import compared
from benchmarks.on_gpu.outcomes import read_outcomes
from benchmarks.on_gpu.parts import Part, run_part
from support.patience import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]

SOME_TESTS = """
import os
import pytest

needs_it = pytest.mark.skipif(False, reason="needs a CUDA device with FP8")

def test_of_something_else(): assert False

@needs_it
def test_passes(): pass

@needs_it
def test_fails(): assert False

@pytest.mark.skipif(True, reason="needs a CUDA device")
def test_is_skipped(): pass

@needs_it
def test_ends_it_all(): os._exit(3)
"""

SAYS_WHOSE_SERVER = """
import json, leyden_server, pathlib, sys
file = pathlib.Path(sys.argv[sys.argv.index("--json") + 1])
file.write_text(json.dumps({"rows": [], "server": leyden_server.__file__}))
"""

WRITES = (
    "import json, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps({'found': 1}));"
)

LONG_ENOUGH_S = 8.0
"""For a Python to start and to say so, on a busy machine too."""

# It starts a process of its own, says which, and stops it when it is interrupted.
STARTS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print("child", child.pid, file=sys.stderr, flush=True)
try:
    child.wait()
except KeyboardInterrupt:
    child.terminate()
    sys.exit("stopped it")
"""

# And one that hears nothing, nor does its child.
IS_DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print("child", child.pid, file=sys.stderr, flush=True)
child.wait()
"""


def part(tmp_path: Path, code: str, limit_s: float = PATIENCE_S) -> Part:
    file = tmp_path / "result.json"
    return Part("a part", [sys.executable, "-c", code, str(file)], limit_s, file)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child_of(outcome: dict[str, Any]) -> int:
    (line,) = [line for line in outcome["last_lines"] if line.startswith("child ")]
    return int(line.removeprefix("child "))


def test_a_part_that_is_done_gives_its_result(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = run_part(part(tmp_path, WRITES), left_s=PATIENCE_S, say=said.append)
    assert outcome["state"] == "done"
    assert outcome["result"] == {"found": 1}
    assert "reason" not in outcome
    assert said[-1].startswith("a part: done")


def test_a_part_that_fails_gives_its_last_words_and_what_it_had(tmp_path: Path) -> None:
    code = WRITES + "sys.exit('no such card')"
    outcome = run_part(part(tmp_path, code), left_s=PATIENCE_S, say=lambda _: None)
    assert outcome["state"] == "failed"
    assert outcome["last_lines"][-1] == "no such card"
    assert outcome["result"] == {"found": 1}


def test_a_part_that_refuses_is_not_run(tmp_path: Path) -> None:
    code = "import sys; print('needs a card', file=sys.stderr); sys.exit(2)"
    outcome = run_part(part(tmp_path, code), left_s=PATIENCE_S, say=lambda _: None)
    assert (outcome["state"], outcome["reason"]) == ("not run", "needs a card")


def test_what_has_no_time_left_or_no_program_is_not_run(tmp_path: Path) -> None:
    assert run_part(part(tmp_path, WRITES), left_s=0, say=lambda _: None)["state"] == "not run"
    missing = Part("gone", [str(tmp_path / "nothing")], PATIENCE_S, tmp_path / "none.json")
    outcome = run_part(missing, left_s=PATIENCE_S, say=lambda _: None)
    assert outcome["state"] == "not run"
    assert "nothing" in outcome["reason"]


def test_a_part_that_takes_too_long_stops_what_it_started(tmp_path: Path) -> None:
    outcome = run_part(
        part(tmp_path, STARTS, limit_s=LONG_ENOUGH_S), left_s=PATIENCE_S, say=lambda _: None
    )
    assert outcome["state"] == "out of time"
    assert "stopped it" in outcome["last_lines"]
    assert is_gone(child_of(outcome))


def test_a_part_that_hears_nothing_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.on_gpu.parts.GRACE_S", 1.0)
    outcome = run_part(
        part(tmp_path, IS_DEAF, limit_s=LONG_ENOUGH_S), left_s=PATIENCE_S, say=lambda _: None
    )
    assert outcome["state"] == "out of time"
    assert is_gone(child_of(outcome))


@pytest.fixture
def results() -> dict[str, Any]:
    """What parts give that measured everything, and met all but the decode's figure."""

    def peer(name: str, ms: float, rate: float) -> dict[str, Any]:
        closed = [
            {"latency_s": {"median": ms / 1000}, "images_per_s": 1000 / ms},
            {"latency_s": {"median": 8 / rate}, "images_per_s": rate},
        ]
        return {"name": name, "start_to_ready_s": 25.0, "closed": closed}

    def stage(name: str, size_px: int, rows: int, ms: float) -> dict[str, Any]:
        return {"stage": name, "size_px": size_px, "rows": rows, "device_ms": {"median": ms}}

    return {
        "stages": {
            "rows": [
                stage("denoiser", 1024, 8, 99.0),
                stage("denoiser", 512, 8, 23.0),
                stage("vae", 1024, 1, 19.5),
                {"stage": "vae", "size_px": 1024, "rows": 8, "not_measured": "out of memory"},
            ]
        },
        "peers": {
            "peers": [
                peer("diffusers", 420.0, 5.0),
                {"name": "leyden", "failed": "RuntimeError: it ended"},
                peer("leyden --in-process", 100.0, 13.5),
                peer("leyden --in-process, fp8", 90.0, 15.2),
            ],
            "leyden_over": {
                "leyden --in-process": {
                    "one_client_of_diffusers": 0.24,
                    "clients_over_diffusers": 2.7,
                }
            },
        },
        "fp8": {"rows": [stage("denoiser", 1024, 8, 83.0)]},
    }


def test_every_figure_that_is_asked_for_is_compared(results: dict[str, Any]) -> None:
    rows = {row["figure"]: row for row in compared(results)}
    assert len(rows) == 10
    assert {name for name, row in rows.items() if not row["met"]} == {"VAE decode"}
    assert rows["VAE decode"] == {
        "figure": "VAE decode",
        "asked": "≤ 19 ms",
        "measured": 19.5,
        "met": False,
    }
    assert rows["8 clients, bf16"]["measured"] == 13.5
    assert rows["one client, an image"]["measured"] == pytest.approx(100)


def test_what_was_not_measured_is_neither_met_nor_missed(results: dict[str, Any]) -> None:
    assert all(row["met"] is None and row["measured"] is None for row in compared({}))
    del results["peers"]["peers"][-1], results["stages"]
    unmet = {row["figure"] for row in compared(results) if row["met"] is None}
    assert unmet == {
        "8 clients, FP8",
        "UNet step, 8 rows, bf16",
        "VAE decode",
        "UNet step at 512 px, 8 rows",
    }


def test_outcomes_of_tests_are_told_as_they_come(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(SOME_TESTS, encoding="utf-8")
    file = tmp_path / "outcomes.jsonl"
    plugin = ["-p", "benchmarks.on_gpu.only_gpu_tests", f"--outcomes={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, "test_some.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode not in {0, 1}, done.stdout  # the last one ended it all
    assert read_outcomes(file) == {
        "passed": 1,
        "skipped": 1,
        "failed": ["test_some.py::test_fails"],
    }


def command(*options: str) -> list[str]:
    return [str(REPOSITORY / "benchmarks" / "gpu_report.sh"), "--tiny", *options]


ENVIRONMENT = {**os.environ, "PYTHON": sys.executable}


def test_a_tiny_run_has_every_part_that_was_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    done = subprocess.run(
        command("--only", "kernels", "stages", "--json", str(file)),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    report = json.loads(file.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr
    assert report["complete"]
    assert list(report["parts"]) == ["kernels", "stages"]
    assert {part["state"] for part in report["parts"].values()} == {"done"}
    kernels = report["parts"]["kernels"]["result"]
    assert kernels["failed"] == []
    assert kernels["passed"] + kernels["skipped"] > 20
    stages = {row["stage"] for row in report["parts"]["stages"]["result"]["rows"]}
    assert stages == {"text_encoders", "denoiser", "vae"}
    assert len(report["figures"]) == 10
    assert "VAE decode: asked ≤ 19 ms, measured" in done.stdout


def test_another_checkouts_stages_are_of_its_own_server(tmp_path: Path) -> None:
    checkout, file = tmp_path / "other", tmp_path / "report.json"
    server = checkout / "server" / "leyden_server" / "__init__.py"
    for one, text in (
        (server, ""),
        (checkout / "benchmarks" / "gpu.py", SAYS_WHOSE_SERVER),
    ):
        one.parent.mkdir(parents=True)
        one.write_text(text, encoding="utf-8")
    done = subprocess.run(
        command("--only", "stages before", "--before", str(checkout), "--json", str(file)),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["parts"]["stages before"]["result"] == {"rows": [], "server": str(server)}


def test_ctrl_c_leaves_no_process_and_a_report_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    with subprocess.Popen(
        command("--only", "stages", "--json", str(file)),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:  # until the part is at work
            said.append(line)
            if "weights" in line:
                break
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest = threading.Thread(target=said.extend, args=(process.stderr,))
        rest.start()
        code = process.wait(PATIENCE_S)
        rest.join(PATIENCE_S)
    assert code == 130, "".join(said)
    assert started
    assert all(is_gone(one.pid) for one in started)
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["parts"] == {"stages": {"state": "interrupted"}}
    assert not report["complete"]
