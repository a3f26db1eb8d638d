"""`ray.address`: servers in a Ray that others started, each with what is its own alone."""

import json
import subprocess
import sys
from pathlib import Path

from cli.conftest import Command, running
from support.running_server import eventually

from leyden_client import Client

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
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-2:]


def serve(directory: Path, address: str, instance: str) -> list[str]:
    """Write a config of its own for an instance; return the arguments that use it."""
    config = {
        "models": [LIGHTNING],
        "gateway": {"port": 0},
        "ray": {"address": address, "instance": instance},
    }
    (directory / f"{instance}.yaml").write_text(json.dumps(config))
    return ["serve", "--config", f"{instance}.yaml"]


def generates(server: Command) -> str:
    """Wait until a server is ready; return the replica that denoised an image of it."""
    ready = server.stdout_line()
    assert ready, server.stderr
    with Client(ready.removeprefix("ready: grpc ")) as client:
        result = client.generate_image("a lake")
    assert result.images
    return result.summary.bill.images[0].denoiser_replica


def stop(server: Command) -> None:
    server.interrupt()
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.stderr
    eventually(lambda: not server.descendants())


def test_servers_share_a_ray_and_what_others_run_there_outlives_them(
    tmp_path: Path, ray_address: str
) -> None:
    assert theirs(ray_address, "deploy") == ["['theirs']", "here"]
    with running(serve(tmp_path, ray_address, "leyden"), tmp_path) as first:
        assert generates(first).startswith(f"leyden-denoiser-{LIGHTNING}#")

        # Another one of the same names would take over what runs there.
        with running(serve(tmp_path, ray_address, "leyden"), tmp_path) as same:
            assert same.process.wait(60) == 1
            assert "has leyden-denoiser-" in same.stderr
            assert "choose another ray.instance" in same.stderr

        with running(serve(tmp_path, ray_address, "second"), tmp_path) as second:
            assert generates(second).startswith(f"second-denoiser-{LIGHTNING}#")
            stop(second)
        # The first never noticed.
        assert first.process.poll() is None
        stop(first)
        logged = [json.loads(x) for x in first.stderr.splitlines() if x.startswith("{")]
        assert len(logged) == 1, "each server shows its own log"
    assert theirs(ray_address, "look") == ["['theirs']", "here"]


def test_a_start_that_is_interrupted_leaves_nothing_there(tmp_path: Path, ray_address: str) -> None:
    assert theirs(ray_address, "deploy") == ["['theirs']", "here"]
    with running(serve(tmp_path, ray_address, "leyden"), tmp_path) as server:
        eventually(lambda: "loading" in server.stderr, 60)
        server.interrupt()
        assert server.process.wait(60) == 130
        eventually(lambda: not server.descendants())
    assert theirs(ray_address, "look") == ["['theirs']", "here"]
