"""`ray.address`: a server in a Ray that others started takes along what is its own alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import running
from ray.cluster_utils import Cluster
from support.running_server import eventually

from leyden_client import Client

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


@pytest.fixture
def address() -> Iterator[str]:
    """A Ray of two CPUs that belongs to somebody else."""
    cluster = Cluster(
        initialize_head=True,
        connect=False,
        head_node_args={"num_cpus": 2, "include_dashboard": False},
    )
    yield cluster.address
    cluster.shutdown()


def theirs(address: str, action: str) -> list[str]:
    """Act as a Serve user of that Ray; return what applications there are, and an answer."""
    command = [sys.executable, "-c", THEIRS, address, action]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-2:]


def test_what_others_run_there_outlives_the_server(tmp_path: Path, address: str) -> None:
    assert theirs(address, "deploy") == ["['theirs']", "here"]
    config = {"gateway": {"port": 0}, "ray": {"address": address}}
    (tmp_path / "leyden.yaml").write_text(json.dumps(config))
    with running(["serve", "--config", "leyden.yaml"], tmp_path) as server:
        ready = server.stdout_line()
        assert ready, server.stderr
        with Client(ready.removeprefix("ready: grpc ")) as client:
            assert client.generate_image("a lake").images
        server.interrupt()
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.stderr
        eventually(lambda: not server.descendants())
    assert theirs(address, "look") == ["['theirs']", "here"]
