"""`leyden serve` over Ray, from its first line to its last process."""

import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import free_port, leyden, running
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.patience import PATIENCE_S
from support.running_server import details_of, eventually, request

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc

BASE = "leyden-tiny-base"
REPOSITORY = ["--model-repository", "models"]
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


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


def arguments_for(port: str, directory: Path) -> list[str]:
    """Write a config, and an entry that is wrong and that nobody asks for, which stops nothing."""
    broken = directory / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / "model.yaml").write_text("bse: ../other\n")
    # What runs when it is stopped may take long where the machine is busy; and the log is moved
    # aside every dozen lines.
    settings = "drain_timeout_s: 300, request_log_max_bytes: 4096, request_log_backups: 20"
    (directory / "leyden.yaml").write_text(f"gateway: {{{settings}}}\n")
    models = ["--model", "leyden-tiny-lightning-4step", "--model", BASE]
    ports = ["--port", port, "--metrics-port", "0"]
    return ["serve", "--config", "leyden.yaml", *ports, *models, *REPOSITORY]


def refused_requests(images: Any, count: int) -> list[str]:
    """Have so many requests refused; return their names."""
    names = [f"n{number}" for number in range(count)]
    for name in names:
        with pytest.raises(grpc.RpcError):
            list(images.GenerateImage(request(request_id=name, width_px=1)))
    return names


def test_a_server_lives_from_loading_to_drained(tmp_path: Path) -> None:
    port = str(free_port())
    address = f"127.0.0.1:{port}"
    with running(arguments_for(port, tmp_path), tmp_path) as server:
        channel = grpc.insecure_channel(address, QUICK_RECONNECT)
        images: Any = pb_grpc.ImageGenerationServiceStub(channel)

        # Before it is ready it says so, to whom asks for its health and to whom asks for more.
        watched = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE_S
        )
        assert next(watched).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            list(images.GenerateImage(request(), timeout=PATIENCE_S))
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
        names = refused_requests(images, 50)

        # Ctrl-C: what runs finishes, what is new is refused, and nothing stays behind.
        call = images.GenerateImage(request(model=BASE, num_inference_steps=100, image_count=2))
        events = [next(call)]
        finished = threading.Thread(target=lambda: events.extend(call))
        finished.start()
        eventually(lambda: any(e.HasField("denoise_progress") for e in list(events)))
        server.interrupt()
        assert next(watched).status == NOT_SERVING
        with pytest.raises(grpc.RpcError) as raised:
            list(images.GenerateImage(request(), timeout=PATIENCE_S))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(raised.value)[ErrorInfo].reason == "DRAINING"
        assert RetryInfo in details_of(raised.value)
        finished.join(PATIENCE_S)
        assert events[-1].WhichOneof("event") == "summary"
        assert server.process.wait(PATIENCE_S) == 0
        assert server.stdout_line() == "", "stdout has the ready line alone"
        eventually(lambda: not server.descendants())

        # Its log went to stderr, a line a request, each once though the file was rotated.
        logged = [json.loads(x) for x in server.stderr.splitlines() if x.startswith("{")]
        assert [record["code"] for record in logged].count("OK") == 2
        assert {r["reason"] for r in logged} == {"", "MODEL_LOADING", "INVALID_FIELD", "DRAINING"}
        assert [r["request_id"] for r in logged if r["request_id"] in names] == names
        assert len(json.dumps(logged)) > 3 * 4096


@pytest.mark.parametrize(
    ("during", "stop"),
    [
        ("importing Ray", signal.SIGINT),
        ("starting Ray", signal.SIGINT),
        ("loading", signal.SIGTERM),
    ],
)
def test_a_signal_while_it_starts_is_answered_at_once(
    tmp_path: Path, during: str, stop: signal.Signals
) -> None:
    with running(["serve", "--port", "0"], tmp_path) as server:
        eventually(lambda: during in server.stderr)
        server.process.send_signal(stop)
        assert server.process.wait(PATIENCE_S) == 130
        lines = server.stderr.splitlines()
        assert [line for line in lines if not re.match(r"\[ *[0-9.]+ s\] ", line)] == []
        assert "draining" not in server.stderr
        assert lines[-1].endswith("stopped at once")
        eventually(lambda: not server.descendants())


def test_a_ray_that_cannot_start_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is so busy that Ray's processes do not find each other in time."""
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "0")
    with running(["serve", "--port", "0"], tmp_path) as server:
        assert server.process.wait(PATIENCE_S) == 1
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
        assert server.process.wait(PATIENCE_S) == 1
        (error,) = [x for x in server.stderr.splitlines() if not x.startswith("[")]
        assert error.startswith(f"error: ray.address: cannot join a Ray at {address}: Connection r")
        assert "'ray start --head'" in error
