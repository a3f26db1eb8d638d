"""`leyden serve --in-process`: one process, no Ray, the same server; and its end by a defect."""

import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import running
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.patience import PATIENCE_S
from support.running_server import details_of, eventually, request

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden.v1 import model_service_pb2 as model_pb
from leyden.v1 import model_service_pb2_grpc as model_grpc
from leyden_client import Client, ModelState

BASE = "leyden-tiny-base"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_it_lives_in_one_process_from_loading_to_drained(tmp_path: Path) -> None:
    # What runs when it is stopped may take long where the machine is busy.
    (tmp_path / "leyden.yaml").write_text("gateway: {port: 0, drain_timeout_s: 300}\n")
    arguments = ["serve", "--in-process", "--config", "leyden.yaml", "--model", BASE, "--web", "0"]
    with running(arguments, tmp_path) as server:
        address = server.stdout_line().removeprefix("ready: grpc ")
        assert address, server.stderr
        assert [process.pid for process in server.descendants()] == [server.process.pid]
        web = re.search(r"web: (http://127\.0\.0\.1:[0-9]+/)", server.stderr)
        assert web is not None, server.stderr
        with urllib.request.urlopen(web[1], timeout=PATIENCE_S) as page:
            assert page.headers["content-type"] == "text/html; charset=utf-8"
        with Client(address) as client:
            generation = client.generate_image("a lake", num_inference_steps=2)
        assert generation.images[0].data.startswith(b"\x89PNG")

        # Ctrl-C: what runs finishes, what is new is refused, and nothing stays behind.
        channel = grpc.insecure_channel(address)
        images: Any = pb_grpc.ImageGenerationServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert next(watched).status == SERVING
        call = images.GenerateImage(request(num_inference_steps=60))
        events = [next(call)]
        finished = threading.Thread(target=lambda: events.extend(call))
        finished.start()
        eventually(lambda: any(e.HasField("denoise_progress") for e in list(events)))
        server.interrupt()
        assert next(watched).status == NOT_SERVING
        live = health.Check(
            health_pb2.HealthCheckRequest(service="leyden.live"), timeout=PATIENCE_S
        )
        assert live.status == SERVING, "it drains, and is not to be killed for it"
        with pytest.raises(grpc.RpcError) as raised:
            list(images.GenerateImage(request(), timeout=PATIENCE_S))
        assert details_of(raised.value)[ErrorInfo].reason == "DRAINING"
        finished.join(PATIENCE_S)
        assert events[-1].WhichOneof("event") == "summary"
        assert server.process.wait(PATIENCE_S) == 0
        assert server.stdout_line() == "", "stdout has the ready line alone"
        assert "Traceback" not in server.stderr
        assert "destroyed" not in server.stderr


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    arguments = ["serve", "--in-process", "--port", "0", "--model", BASE]
    with running(arguments, tmp_path) as server:
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
        assert server.process.wait(PATIENCE_S) == 130
        assert "Traceback" not in server.stderr


def test_what_does_not_end_in_time_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    (tmp_path / "leyden.yaml").write_text("gateway: {port: 0, drain_timeout_s: 1}\n")
    arguments = ["serve", "--in-process", "--config", "leyden.yaml", "--model", BASE]
    with running(arguments, tmp_path) as server:
        address = server.stdout_line().removeprefix("ready: grpc ")
        images: Any = pb_grpc.ImageGenerationServiceStub(grpc.insecure_channel(address))
        call = images.GenerateImage(
            request(num_inference_steps=100, image_count=8, width_px=512, height_px=512)
        )
        next(event for event in call if event.HasField("denoise_progress"))
        server.interrupt()
        seen: list[Any] = []
        with pytest.raises(grpc.RpcError) as raised:
            seen.extend(call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        # Counted in steps, since a step takes as long as the machine is busy.
        assert len(seen) < 50
        assert server.process.wait(PATIENCE_S) == 0
        eventually(lambda: not server.descendants())


BROKEN_DEVICE = """
import os, sys, torch
from leyden_server.denoiser.unet_runner import UNetRunner

whole = UNetRunner.run

def run(self, batch):
    if os.path.exists("broken"):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    return whole(self, batch)

UNetRunner.run = run
from leyden_cli.main import main
sys.exit(main(["serve", "--in-process", "--port", "0"]))
"""


def test_a_device_that_is_lost_ends_the_process_with_a_status(tmp_path: Path) -> None:
    """A CUDA error stays in its process: whoever supervises it is to start another one."""
    with subprocess.Popen(
        [sys.executable, "-c", BROKEN_DEVICE],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            address = server.stdout.readline().strip().removeprefix("ready: grpc ")
            images: Any = pb_grpc.ImageGenerationServiceStub(grpc.insecure_channel(address))
            (tmp_path / "broken").touch()
            with pytest.raises(grpc.RpcError) as raised:
                list(images.GenerateImage(request(), timeout=PATIENCE_S))
            assert raised.value.code() is grpc.StatusCode.INTERNAL
            assert "illegal memory" not in str(raised.value.details())
            assert server.wait(PATIENCE_S) == 70
            stderr = server.stderr.read()
            assert "denoiser" in stderr
            assert "a supervisor is to start the server again" in stderr
        finally:
            server.kill()


SLOW_LOAD = """
import os, sys, time
from leyden_server.denoiser.unet_runner import UNetRunner

whole = UNetRunner.load

def load(model, **options):
    while os.path.exists("held"):
        time.sleep(0.01)
    return whole(model, **options)

UNetRunner.load = load
from leyden_cli.main import main
sys.exit(main(["serve", "--in-process", "--port", "0"]))
"""


def test_a_stop_does_not_wait_for_a_model_that_is_being_loaded(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_LOAD],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            address = server.stdout.readline().strip().removeprefix("ready: grpc ")
            (tmp_path / "held").touch()
            call: Any = model_grpc.ModelServiceStub(grpc.insecure_channel(address))
            loading = call.LoadModel.future(model_pb.LoadModelRequest(model=BASE))
            with Client(address) as client:
                eventually(lambda: client.get_model(BASE).state is ModelState.LOADING)
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE_S) == 0
            assert loading.code() is not grpc.StatusCode.OK
            assert "Traceback" not in server.stderr.read()
        finally:
            server.kill()


def test_no_ray_is_there(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import leyden_cli.server.serve, leyden_server.controller.in_process\n"
        "import leyden_server.text_encoder.service, leyden_server.denoiser.service\n"
        "import leyden_server.vae.service\n"
        "assert 'ray' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
