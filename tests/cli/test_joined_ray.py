"""`ray.address`: servers in a Ray that others started, each with what is its own alone."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import safetensors.torch
from cli.conftest import Command, running
from support.patience import PATIENCE_S
from support.random_sdxl import write_random_sdxl
from support.running_server import eventually, request

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden_client import Client
from leyden_server.model_repository.repository import SHIPPED_MODELS

BASE = "leyden-tiny-base"
LIGHTNING = "leyden-tiny-lightning-4step"

THEIRS = """
import sys, ray
from ray import serve
from ray.serve.config import ProxyLocation

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Theirs:
    def say(self):
        return "here"

ray.init(address=sys.argv[1], log_to_driver=False)
if sys.argv[2] == "deploy":
    serve.start(proxy_location=ProxyLocation.Disabled)
    serve.run(Theirs.bind(), name="theirs", route_prefix=None)
print(sorted(serve.status().applications))
print(serve.get_app_handle("theirs").say.remote().result(timeout_s=60))
"""


def theirs(address: str, action: str) -> list[str]:
    """Act as a Serve user of that Ray; return what applications there are, and an answer."""
    command = [sys.executable, "-c", THEIRS, address, action]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-2:]


def serve(
    directory: Path, address: str, instance: str, model: str = LIGHTNING, **settings: object
) -> list[str]:
    """Write a config of its own for an instance; return the arguments that use it."""
    config = {
        "models": [model],
        "gateway": {"port": 0},
        "ray": {"address": address, "instance": instance},
        **settings,
    }
    (directory / f"{instance}.yaml").write_text(json.dumps(config))
    return ["serve", "--config", f"{instance}.yaml"]


def generates(server: Command) -> tuple[str, str]:
    """Wait until a server is ready; return its address, and who denoised an image of it."""
    ready = server.stdout_line()
    assert ready, server.stderr
    address = ready.removeprefix("ready: grpc ")
    with Client(address) as client:
        result = client.generate_image("a lake")
    assert result.images
    return address, result.summary.bill.images[0].denoiser_replica


def stop(server: Command) -> None:
    server.interrupt()
    assert server.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in server.stderr
    eventually(lambda: not server.descendants())


def stop_at_once(server: Command, address: str) -> None:
    """Press Ctrl-C twice while it generates."""
    with grpc.insecure_channel(address) as channel:
        images: Any = pb_grpc.ImageGenerationServiceStub(channel)
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
    eventually(lambda: not server.descendants())


def test_servers_share_a_ray_and_what_others_run_there_outlives_them(
    tmp_path: Path, ray_address: str
) -> None:
    assert theirs(ray_address, "deploy") == ["['theirs']", "here"]
    with running(serve(tmp_path, ray_address, "leyden", BASE), tmp_path) as first:
        address, denoiser = generates(first)
        assert denoiser.startswith(f"leyden-denoiser-{BASE}#")

        # Another one of the same names would take over what runs there.
        with running(serve(tmp_path, ray_address, "leyden", BASE), tmp_path) as same:
            assert same.process.wait(PATIENCE_S) == 1
            assert "has leyden-denoiser-" in same.stderr
            assert "choose another ray.instance" in same.stderr

        with running(serve(tmp_path, ray_address, "second"), tmp_path) as second:
            assert generates(second)[1].startswith(f"second-denoiser-{LIGHTNING}#")
            stop(second)
        # The first never noticed.
        assert first.process.poll() is None
        logged = [json.loads(x) for x in first.stderr.splitlines() if x.startswith("{")]
        assert len(logged) == 1, "each server shows its own log"
        stop_at_once(first, address)
    assert theirs(ray_address, "look") == ["['theirs']", "here"]


def test_a_start_that_is_interrupted_leaves_nothing_there(tmp_path: Path, ray_address: str) -> None:
    assert theirs(ray_address, "deploy") == ["['theirs']", "here"]
    with running(serve(tmp_path, ray_address, "leyden"), tmp_path) as server:
        eventually(lambda: "loading" in server.stderr)
        server.interrupt()
        assert server.process.wait(PATIENCE_S) == 130
        eventually(lambda: not server.descendants())
        # Serve goes on with what it had not ended when the server left, which it has said then.
        is_left = "Ray Serve is still ending" in server.stderr
    wanted = ["['theirs']", "here"]
    assert is_left or theirs(ray_address, "look") == wanted
    eventually(lambda: theirs(ray_address, "look") == wanted)


def test_a_model_that_does_not_load_is_named_and_nothing_stays_behind(
    tmp_path: Path, ray_address: str
) -> None:
    folder = tmp_path / "models" / "broken"
    write_random_sdxl(folder, tokenizer_from=SHIPPED_MODELS / BASE)
    # What no header tells: it is seen when the weights are read.
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(file)
    weights["conv_out.bias"][0] = float("nan")
    safetensors.torch.save_file(weights, file)
    arguments = serve(tmp_path, ray_address, "leyden", "broken", model_repository=["models"])
    with running(arguments, tmp_path) as server:
        assert server.process.wait(PATIENCE_S) == 1
        # One line: the stages that waited for it are innocent.
        (error,) = [x for x in server.stderr.splitlines() if not x.startswith("[")]
        assert re.match(r"error: leyden-denoiser-broken: .*conv_out\.bias: holds NaN", error)
        eventually(lambda: not server.descendants())


def test_more_than_the_machine_has_is_refused_with_the_setting_to_lower(
    tmp_path: Path, ray_address: str
) -> None:
    arguments = serve(tmp_path, ray_address, "leyden", denoiser={"num_cpus": 1000})
    with running(arguments, tmp_path) as server:
        assert server.process.wait(PATIENCE_S) == 1
        assert "lower num_cpus or min_replicas" in server.stderr
        assert "denoiser-leyden-tiny-lightning-4step 1000" in server.stderr
        eventually(lambda: not server.descendants())
