"""`leyden serve` from its first line to its last process."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import free_port, running
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.random_sdxl import write_random_sdxl
from support.running_server import details_of, eventually, request

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_server.model_repository.repository import SHIPPED_MODELS

BASE = "leyden-tiny-base"
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


def leyden(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "leyden_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# Nobody listens at first, and gRPC's waits between its tries would outgrow the loading.
QUICK_RECONNECT = [(f"grpc.{which}_reconnect_backoff_ms", 200) for which in ("initial", "max")]


def use_the_commands(address: str, directory: Path) -> None:
    """Run the commands of the client against a server that has a broken model."""
    picture = directory / "out.png"
    made = leyden("generate", "a lake", "-o", str(picture), "--seed", "1", "--server", address)
    assert made.returncode == 0, made.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "step 4 of 4" in made.stderr
    listed = leyden("models", "--json", "--server", address)
    assert BASE in listed.stdout
    assert "broken/model.yaml: bse: unknown key" in listed.stdout
    assert str(directory) not in listed.stdout
    wrong = ["-o", str(directory / "no.png"), "--steps", "7", "--server", address]
    refused = leyden("generate", "a lake", *wrong)
    assert refused.returncode == 1
    assert "num_inference_steps" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_server_lives_from_loading_to_drained(tmp_path: Path) -> None:
    port = str(free_port())
    address = f"127.0.0.1:{port}"
    models = ["--model", "leyden-tiny-lightning-4step", "--model", BASE]
    # An entry that is wrong and that nobody asks for stops nothing.
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / "model.yaml").write_text("bse: ../other\n")
    models += ["--model-repository", "models"]
    with running(["serve", "--port", port, *models], tmp_path) as server:
        channel = grpc.insecure_channel(address, QUICK_RECONNECT)
        images: Any = pb_grpc.ImageGenerationServiceStub(channel)

        # Before it is ready it says so, to whom asks for its health and to whom asks for more.
        watched = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=120
        )
        assert next(watched).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            list(images.GenerateImage(request(), timeout=30))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(raised.value)[ErrorInfo].reason == "MODEL_LOADING"
        assert RetryInfo in details_of(raised.value)
        assert next(watched).status == SERVING
        assert server.stdout_line() == f"ready: grpc {address}"

        # The port is taken now, and the second server says so by name.
        second = leyden("serve", "--port", port)
        assert second.returncode == 1
        assert f"cannot listen on {address}: a Leyden server has it, process" in second.stderr
        assert f"process {server.process.pid} (" in second.stderr
        assert "importing Ray" not in second.stderr

        use_the_commands(address, tmp_path)

        # Ctrl-C: what runs finishes, what is new is refused, and nothing stays behind.
        call = images.GenerateImage(request(model=BASE, num_inference_steps=100, image_count=2))
        events = [next(call)]
        finished = threading.Thread(target=lambda: events.extend(call))
        finished.start()
        eventually(lambda: any(e.HasField("denoise_progress") for e in list(events)))
        server.interrupt()
        assert next(watched).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            list(images.GenerateImage(request(), timeout=30))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(raised.value)[ErrorInfo].reason == "DRAINING"
        assert RetryInfo in details_of(raised.value)
        finished.join(60)
        assert events[-1].WhichOneof("event") == "summary"
        assert server.process.wait(60) == 0
        assert server.stdout_line() == "", "stdout has the ready line alone"
        eventually(lambda: not server.descendants())

        # Its log went to stderr, a line a request.
        logged = [json.loads(x) for x in server.stderr.splitlines() if x.startswith("{")]
        assert [record["code"] for record in logged].count("OK") == 2
        assert {r["reason"] for r in logged} == {"", "MODEL_LOADING", "INVALID_FIELD", "DRAINING"}


def test_a_second_ctrl_c_stops_at_once_and_says_so_to_the_clients(tmp_path: Path) -> None:
    with running(["serve", "--port", "0", "--model", BASE], tmp_path) as server:
        address = server.stdout_line().removeprefix("ready: grpc ")
        images: Any = pb_grpc.ImageGenerationServiceStub(grpc.insecure_channel(address))
        call = images.GenerateImage(request(num_inference_steps=100, image_count=8))
        next(event for event in call if event.HasField("denoise_progress"))
        server.interrupt()
        eventually(lambda: "draining" in server.stderr)
        server.interrupt()
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(60) == 130
        assert "Traceback" not in server.stderr
        eventually(lambda: not server.descendants())


def test_what_does_not_end_in_time_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    (tmp_path / "leyden.yaml").write_text("gateway: {port: 0, drain_timeout_s: 1}\n")
    arguments = ["serve", "--config", "leyden.yaml", "--model", BASE]
    with running(arguments, tmp_path) as server:
        address = server.stdout_line().removeprefix("ready: grpc ")
        images: Any = pb_grpc.ImageGenerationServiceStub(grpc.insecure_channel(address))
        call = images.GenerateImage(
            request(num_inference_steps=100, image_count=8, width_px=512, height_px=512)
        )
        next(event for event in call if event.HasField("denoise_progress"))
        started_s = time.monotonic()
        server.interrupt()
        with pytest.raises(grpc.RpcError) as raised:
            list(call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(60) == 0
        assert time.monotonic() - started_s < 1 + 10
        eventually(lambda: not server.descendants())


DROPPED = """
import os, signal, threading
from leyden_cli.server.interrupts import interrupt_on_signals

os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.{name}))
interrupt_on_signals()
try:
    if os.fork() == 0:
        os._exit(0)
    print("went on", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_comes_amid_a_fork_is_not_lost(name: str) -> None:
    """Python drops what is raised there."""
    command = [sys.executable, "-c", DROPPED.format(name=name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "went on\ninterrupted\n"
    assert result.stderr == ""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("during", ["starting Ray", "loading"])
def test_a_signal_while_it_starts_is_answered_at_once(
    tmp_path: Path, during: str, stop: signal.Signals
) -> None:
    with running(["serve", "--port", "0"], tmp_path) as server:
        eventually(lambda: during in server.stderr, 60)
        started_s = time.monotonic()
        server.process.send_signal(stop)
        assert server.process.wait(60) == 130
        assert time.monotonic() - started_s < 10  # a drain alone would take longer
        lines = server.stderr.splitlines()
        assert all(re.match(r"\[ *[0-9.]+ s\] ", line) for line in lines), "no line but ours"
        assert lines[-1].endswith("stopped at once")
        eventually(lambda: not server.descendants())


def test_a_model_that_does_not_load_is_named_and_nothing_stays_behind(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "broken"
    write_random_sdxl(folder, tokenizer_from=SHIPPED_MODELS / BASE)
    other = SHIPPED_MODELS / BASE / "unet" / "diffusion_pytorch_model.safetensors"
    (folder / "other.safetensors").write_bytes(other.read_bytes())
    (folder / "model.yaml").write_text("unet: other.safetensors\n")
    arguments = ["serve", "--port", "0", "--model", "broken"]
    with running([*arguments, "--model-repository", str(tmp_path / "models")], tmp_path) as server:
        assert server.process.wait(120) == 1
        # One line: the stages that waited for it are innocent.
        (error,) = [x for x in server.stderr.splitlines() if not x.startswith("[")]
        assert re.match(r"error: leyden-denoiser-broken: .*'broken'.*other\.safetensors", error)
        eventually(lambda: not server.descendants())


def test_a_ray_that_cannot_start_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is so busy that Ray's processes do not find each other in time."""
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "0")
    with running(["serve", "--port", "0"], tmp_path) as server:
        assert server.process.wait(120) == 1
        assert server.stderr.count("trying again") == 2
        (error,) = [x for x in server.stderr.splitlines() if not x.startswith("[")]
        assert error.startswith("error: Ray did not start in 3 tries")
        assert "ray.num_cpus" in error
        eventually(lambda: not server.descendants())


def test_a_ray_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    config = {"gateway": {"port": 0}, "ray": {"address": address}}
    (tmp_path / "leyden.yaml").write_text(json.dumps(config))
    with running(["serve", "--config", "leyden.yaml"], tmp_path) as server:
        assert server.process.wait(60) == 1
        (error,) = [x for x in server.stderr.splitlines() if not x.startswith("[")]
        assert error.startswith(f"error: ray.address: cannot join a Ray at {address}: Connection r")
        assert "'ray start --head'" in error


def test_every_line_of_the_log_is_shown_once_though_it_is_rotated(tmp_path: Path) -> None:
    settings = "gateway: {port: 0, request_log_max_bytes: 4096, request_log_backups: 20}\n"
    (tmp_path / "leyden.yaml").write_text(settings)
    with running(["serve", "--config", "leyden.yaml"], tmp_path) as server:
        address = server.stdout_line().removeprefix("ready: grpc ")
        with grpc.insecure_channel(address) as channel:
            images: Any = pb_grpc.ImageGenerationServiceStub(channel)
            for number in range(50):
                with pytest.raises(grpc.RpcError):
                    list(images.GenerateImage(request(request_id=f"n{number}", width_px=1)))
        server.interrupt()
        assert server.process.wait(60) == 0
        logged = [json.loads(x) for x in server.stderr.splitlines() if x.startswith("{")]
        assert sum(len(json.dumps(record)) for record in logged) > 3 * 4096
        assert [record["request_id"] for record in logged] == [f"n{n}" for n in range(50)]


WRONG = [
    (["--model", "leyden-tiny-bsae"], "did you mean 'leyden-tiny-base'"),
    (["--model-repository", "missing"], "missing: is not a folder"),
    (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
    (["--model", "broken", "--model-repository", "models"], "models/broken/model.yaml: bse: unkn"),
    (["--model-repository", "models", "--model-repository", "models"], "has the same name"),
    (["--port", "70000"], "gateway.port"),
    (["--host", "192.0.2.77", "--port", "0"], "192.0.2.77 is not an address of this machine"),
    (["--host", "127.0.0.1:80", "--port", "0"], "'127.0.0.1:80' is neither an IP address"),
    (["--host", "", "--port", "0"], "gateway.host"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_option_is_named_before_ray_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models/broken").mkdir(parents=True)
    Path("models/broken/model.yaml").write_text("bse: ../other\n")
    result = leyden("serve", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "importing Ray" not in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_config_key_names_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "leyden.yaml"
    config.write_text("denoiser: {max_batch_row: 4}\n")
    result = leyden("serve", "--config", str(config))
    assert result.returncode == 1
    assert "max_batch_row: unknown key; the nearest known one is 'max_batch_rows'" in result.stderr


def test_more_than_the_machine_has_is_refused_with_the_setting_to_lower(tmp_path: Path) -> None:
    (tmp_path / "leyden.yaml").write_text("denoiser: {num_cpus: 1000}\n")
    with running(["serve", "--port", "0", "--config", "leyden.yaml"], tmp_path) as server:
        assert server.process.wait(60) == 1
        assert "lower num_cpus or min_replicas" in server.stderr
        assert "denoiser-leyden-tiny-lightning-4step 1000" in server.stderr
        eventually(lambda: not server.descendants())


def test_a_demo_that_is_terminated_takes_its_server_along(tmp_path: Path) -> None:
    with running(["demo"], tmp_path) as demo:
        eventually(lambda: "loading" in demo.stderr, 60)
        demo.process.terminate()
        assert demo.process.wait(60) == 130
        eventually(lambda: not demo.descendants())


def test_the_demo_makes_its_picture_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(["demo"], tmp_path) as demo:
        assert demo.process.wait(120) == 0, demo.stderr
        assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
        told = [x.partition(" ")[2] for x in demo.stderr.splitlines() if x.startswith("demo: ")]
        *steps, end = (line.split(";")[0] for line in told)
        assert steps == [
            "starting a server on a free port with the model that Leyden ships",
            "the server is ready",
            "stopping the server",
        ]
        assert re.fullmatch(r"demo\.png is there after \d+ s", end)
        assert "running: leyden generate 'A serene mountain lake" in told[1]
        eventually(lambda: not demo.descendants())


def test_a_demo_that_cannot_write_its_picture_says_so_first(tmp_path: Path) -> None:
    result = leyden("demo", "-o", str(tmp_path / "missing" / "x.png"))
    assert result.returncode == 1
    assert result.stderr == f"error: --output: {tmp_path / 'missing'} is not a folder\n"
