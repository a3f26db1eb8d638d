"""A Serve config file gives the same server, without `leyden serve`."""

import io
import json
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import yaml
from cli.conftest import OtherRay, free_port, running
from numpy.typing import NDArray
from PIL import Image
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from support.patience import PATIENCE_S
from support.running_server import eventually
from support.scraping import Scrape, scrape

from leyden_client import Client, ModelsManagedError
from leyden_server.address import ReservedAddress
from leyden_server.config import ServerConfig
from leyden_server.controller.serve_app import build_app
from leyden_server.controller.serve_config import serve_config
from leyden_server.errors import AddressInUseError, ConfigError, ModelRepositoryError

LIGHTNING = "leyden-tiny-lightning-4step"

DELETE = """
import sys, ray
from ray import serve

ray.init(address=sys.argv[1], log_to_driver=False)
for name in sys.argv[2:]:
    serve.delete(name)
"""


def test_what_serve_deploy_makes_of_it_is_the_server(other_ray: OtherRay, tmp_path: Path) -> None:
    port, metrics_port, web_port = free_port(), free_port(), free_port()
    config = ServerConfig().replace(
        models=[LIGHTNING],
        gateway={
            "port": port,
            "replicas": 2,
            "metrics_port": metrics_port,
            "web_port": web_port,
        },
        denoiser={"measure_batch_rows": False},
    )
    written = serve_config(config)
    try:
        deploy(other_ray, written, tmp_path)
        address = f"127.0.0.1:{port}"
        with Client(address) as client:
            client.wait_until_ready(PATIENCE_S)
            got = pixels(client)
            with running(["serve", "--in-process", "--port", "0"], tmp_path) as alone:
                ready = alone.stdout_line()
                with Client(ready.rpartition(" ")[2]) as reference:
                    assert np.abs(got - pixels(reference)).max() <= 1
            # Whoever owns the config decides what runs.
            for change in (client.load_model, client.unload_model):
                with pytest.raises(ModelsManagedError, match="serveConfigV2"):
                    change(LIGHTNING)
        _another_scaling_restarts_nothing(other_ray, config, tmp_path)
        # Its two Gateways hold the address together, and against everybody else.
        with pytest.raises(AddressInUseError, match="a Leyden server has it"):
            ReservedAddress("127.0.0.1", port)
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        web = f"http://127.0.0.1:{web_port}"
        _any_generation_is_watched_over_http(address, web)
        serves_web = _listening_at(web_port)
        _its_gateways_count_together(address, f"http://127.0.0.1:{metrics_port}/metrics")
        # The HTTP door too moves to another Gateway where the one that serves it dies.
        with suppress(psutil.NoSuchProcess):
            serves_web.kill()
            serves_web.wait(PATIENCE_S)
        eventually(lambda: _listed(web) == [LIGHTNING], PATIENCE_S)
    finally:
        names = [application["name"] for application in written["applications"]]
        delete = [sys.executable, "-c", DELETE, other_ray.address, *names]
        subprocess.run(delete, timeout=PATIENCE_S, check=True)


def _another_scaling_restarts_nothing(
    other_ray: OtherRay, config: ServerConfig, folder: Path
) -> None:
    before = _replicas(other_ray)
    scaled = {**config.denoiser.model_dump(), "max_replicas": config.denoiser.max_replicas + 1}
    deploy(other_ray, serve_config(config.replace(denoiser=scaled)), folder)
    (denoiser,) = [one for one in _applications(other_ray) if "Denoiser" in one["deployments"]]
    scaling = denoiser["deployments"]["Denoiser"]["deployment_config"]["autoscaling_config"]
    assert scaling["max_replicas"] == scaled["max_replicas"]
    assert _replicas(other_ray) == before


def _applications(other_ray: OtherRay) -> list[dict[str, Any]]:
    # Ray's own client knows the token, where there is one.
    details: dict[str, Any] = ServeSubmissionClient(other_ray.dashboard).get_serve_details()
    return [*details["applications"].values()]


def _replicas(other_ray: OtherRay) -> set[tuple[str, str]]:
    """Return the deployment and id of every replica there is, of the Gateways too."""
    return {
        (name, replica["replica_id"])
        for application in _applications(other_ray)
        for name, deployment in application["deployments"].items()
        for replica in deployment["replicas"]
    }


def deploy(other_ray: OtherRay, config: dict[str, Any], folder: Path) -> None:
    """Run Ray's own `serve deploy`; return once all of it runs."""
    file = folder / "serve_config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    ray_serve("deploy", "--address", other_ray.dashboard, str(file))
    names = {application["name"] for application in config["applications"]}

    def all_run() -> bool:
        status = ray_serve("status", "--address", other_ray.dashboard)
        found = yaml.safe_load(status)["applications"]
        there = {name: found[name] for name in names & set(found)}
        failed = {name: one["message"] for name, one in there.items() if "FAILED" in one["status"]}
        assert failed == {}
        return [one["status"] for one in there.values()] == ["RUNNING"] * len(names)

    eventually(all_run, 2 * PATIENCE_S)


def ray_serve(*arguments: str) -> str:
    """Run Ray's own `serve` command; return what it prints."""
    command = [sys.executable, "-m", "ray.serve.scripts", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels(client: Client) -> NDArray[np.int16]:
    """Return those of one seed's image."""
    (image,) = client.generate_image("a lake", seed=1, model=LIGHTNING).images
    return np.asarray(Image.open(io.BytesIO(image.data))).astype(np.int16)


def _listed(web: str) -> list[str] | None:
    """Return the names of the models that are loaded, by Connect; None: nobody is there."""
    with suppress(OSError):
        answer = _post(f"{web}/leyden.v1.ModelService/ListModels", "application/json", b"{}")
        models = json.loads(answer)["models"]
        return [m["name"] for m in models if m["state"] == "MODEL_STATE_READY"]
    return None


def _any_generation_is_watched_over_http(address: str, web: str) -> None:
    """Whichever Gateway has it: one serves the door, and asks the other where it has not."""
    assert _listed(web) == [LIGHTNING]
    for number in range(4):  # of connections to two processes by chance
        name = f"watched-{number}"
        with Client(address) as client:
            assert client.generate_image("a lake", request_id=name, linger_s=60).images
        body = json.dumps({"requestId": name}).encode()
        framed = b"\0" + len(body).to_bytes(4, "big") + body
        path = "leyden.v1.ImageGenerationService/WatchGeneration"
        answer = _post(f"{web}/{path}", "application/connect+json", framed)
        assert b'"summary"' in answer
        assert b'"error"' not in answer


def _post(url: str, content_type: str, body: bytes) -> bytes:
    asked = urllib.request.Request(url, body, {"content-type": content_type})
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        read: bytes = answer.read()
        return read


def _its_gateways_count_together(address: str, page: str) -> None:
    """One page for both, which loses nothing when the Gateway that serves it is killed."""
    for _ in range(6):  # of connections to two processes by chance
        with Client(address) as client:
            assert client.generate_image("a lake", seed=1).images
    eventually(lambda: scrape(page).total("nv_inference_count") == 11)
    now = scrape(page)
    assert now.value("leyden_gateways") == 2
    assert now.total("leyden_unet_rows_total") == 11 * 4
    assert now.value("leyden_stage_replicas", stage="vae", application=_only_vae(now)) == 1

    killed = _listening_at(int(page.rsplit(":", 1)[1].split("/", maxsplit=1)[0]))
    killed.kill()
    killed.wait(PATIENCE_S)

    def shown() -> Scrape | None:
        with suppress(OSError):
            return scrape(page)
        return None

    eventually(lambda: shown() is not None)
    assert scrape(page).total("nv_inference_count") == 11
    # Serve starts another one in its place.
    eventually(
        lambda: (now := shown()) is not None and now.value("leyden_gateways") == 2, PATIENCE_S
    )
    with Client(address) as client:
        client.wait_until_ready(PATIENCE_S)  # it is on the page before it has asked for its stages
        assert client.generate_image("a lake", seed=1).images
    eventually(
        lambda: (now := shown()) is not None and now.total("nv_inference_count") == 12, PATIENCE_S
    )


def _only_vae(now: Scrape) -> str:
    labels = [dict(labels) for name, labels in now.values if name == "leyden_stage_replicas"]
    (application,) = [label["application"] for label in labels if label["stage"] == "vae"]
    return application


def _listening_at(port: int) -> psutil.Process:
    listening = []
    for connection in psutil.net_connections("tcp"):
        address: Any = connection.laddr  # of a socket that listens it is no empty tuple
        if connection.status == psutil.CONN_LISTEN and address.port == port:
            listening.append(connection)
    (one,) = listening
    assert one.pid is not None
    return psutil.Process(one.pid)


def test_paths_are_absolute_and_defaults_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.yaml").write_text("base: x")
    monkeypatch.chdir(tmp_path)
    config = ServerConfig().replace(models=[LIGHTNING], model_repository=["models"])
    *stages, gateway = serve_config(config)["applications"]
    folder = {"model_repository": [str(tmp_path / "models")]}
    assert [application["args"]["config"] for application in stages] == [folder] * 3
    assert gateway["args"]["config"] == folder


STAGES = {"x": {"text_encoder": "a", "denoiser": "b", "vae": "c"}}


def _gateway(stages: Any = None, **config: Any) -> dict[str, Any]:
    named = {LIGHTNING: STAGES["x"]} if stages is None else stages
    return {"stage": "gateway", "stages": named, "config": config}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "args: stage: one of text_encoder, denoiser, vae, gateway (got None)"),
        ({"stage": "denoiser"}, "args: model: Field required"),
        (
            {"stage": "denoiser", "model": LIGHTNING, "confg": {}},
            "confg: unknown key; the nearest known one is 'config'",
        ),
        (
            {"stage": "vae", "model": LIGHTNING, "config": {"vae": {"num_cpu": 1}}},
            "config.vae.num_cpu: unknown key",
        ),
        ({"stage": "denoiser", "model": "nobody's"}, 'no model "nobody\'s"'),
        ({"stage": "gateway"}, "args: stages: Field required"),
        (_gateway(STAGES), f"args: stages: has x, and config.models {LIGHTNING}"),
        (_gateway({LIGHTNING: {"vae": "c"}}), f"stages.{LIGHTNING}.denoiser: Field required"),
        (_gateway(gateway={"port": 0}), "config.gateway.port: from 1"),
        (
            _gateway(gateway={"metrics_port": 0}),
            "config.gateway.metrics_port: from 1 to 65535, or null",
        ),
        (_gateway(gateway={"web_port": 0}), "config.gateway.web_port: from 1 to 65535, or null"),
    ],
)
def test_wrong_args_are_named(args: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, ModelRepositoryError)) as caught:
        build_app(args)
    assert said in str(caught.value)


def test_the_command_prints_it(tmp_path: Path) -> None:
    (tmp_path / "leyden.yaml").write_text("denoiser: {max_batch_rows: 4}\n")
    command = [sys.executable, "-m", "leyden_cli", "serve", "--print-serve-config"]
    done = subprocess.run(
        [*command, "--config", "leyden.yaml", "--port", "9000"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
        cwd=tmp_path,
    )
    config = ServerConfig().replace(denoiser={"max_batch_rows": 4}, gateway={"port": 9000})
    assert yaml.safe_load(done.stdout) == serve_config(config)
    assert [x["name"] for x in serve_config(config)["applications"]] == [
        f"leyden-text-encoder-{LIGHTNING}",
        f"leyden-denoiser-{LIGHTNING}",
        f"leyden-vae-{LIGHTNING}",
        "leyden-gateway",
    ]
