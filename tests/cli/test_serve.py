"""`leyden serve` from its first line to its last process."""

import json
import re
import subprocess
import sys
import threading
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


def test_a_server_lives_from_loading_to_drained(tmp_path: Path) -> None:
    port = str(free_port())
    address = f"127.0.0.1:{port}"
    models = ["--model", "leyden-tiny-lightning-4step", "--model", BASE]
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
        assert address in second.stderr

        # The commands of the client work against it.
        picture = tmp_path / "out.png"
        made = leyden("generate", "a lake", "-o", str(picture), "--seed", "1", "--server", address)
        assert made.returncode == 0, made.stderr
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert "step 4 of 4" in made.stderr
        listed = leyden("models", "--json", "--server", address)
        assert BASE in listed.stdout
        wrong = ["-o", str(tmp_path / "no.png"), "--steps", "7", "--server", address]
        refused = leyden("generate", "a lake", *wrong)
        assert refused.returncode == 1
        assert "num_inference_steps" in refused.stderr
        assert "Traceback" not in refused.stderr

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


def test_ctrl_c_while_loading_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(["serve", "--port", "0"], tmp_path) as server:
        eventually(lambda: "loading" in server.stderr, 60)
        server.interrupt()
        assert server.process.wait(60) == 130
        assert "Traceback" not in server.stderr
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
        assert re.search(r"error: .*broken.*other\.safetensors does not fit", server.stderr, re.S)
        eventually(lambda: not server.descendants())


WRONG = [
    (["--model", "leyden-tiny-bsae"], "did you mean 'leyden-tiny-base'"),
    (["--model-repository", "missing"], "missing: is not a folder"),
    (["--config", "missing.yaml"], "missing.yaml: cannot be read"),
    (["--port", "70000"], "gateway.port"),
    (["--host", "192.0.2.77", "--port", "0"], "192.0.2.77"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_option_is_named(arguments: list[str], message: str) -> None:
    result = leyden("serve", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
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
        eventually(lambda: not demo.descendants())
