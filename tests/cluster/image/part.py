"""The image: every step of its Dockerfile is run, and the server in it, as confined as its pods.

There is no registry here, so the bases are a clean Debian root in place of what the digests name.
"""

import argparse
import io
import json
import re
import threading
from pathlib import Path
from time import monotonic

from cluster.image.building import BASE, IMAGE, build, clean_root, torch_index
from cluster.image.container import Container, container
from cluster.image.tools import CommandError, Tools, missing
from cluster.part import Part
from cluster.report import Report
from PIL import Image
from support.patience import PATIENCE_S

from leyden_client import Client, __version__
from leyden_client.events import DenoiseProgress

__all__ = ["PART"]

CACHE = Path.home() / ".cache" / "leyden" / "image"
COMPILERS = "localhost/leyden-test/leyden:cuda-base"
PROMPT = "a red mountain at dawn"
IN_PROCESS = ("serve", "--in-process", "--port", "0", "--metrics-port", "0")
RAY_HEAD = "ray start --head --block --num-cpus=1 --dashboard-host=0.0.0.0"
PROBE = " && ".join(
    f"wget --tries 1 -T 2 -q -O- http://localhost:{where} | grep success"
    for where in ("52365/api/local_raylet_healthz", "8265/api/gcs_healthz")
)
"""What KubeRay asks of a head, where the pod has no probe of its own."""
STARTED = re.compile("Ray runtime started")
EXTENSION = "#include <Python.h>\nint leyden(void) { return Py_IsInitialized(); }\n"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --folder and --as-built."""
    parser.add_argument(
        "--folder", type=Path, default=CACHE, help="where images are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--as-built", action="store_true", help="build nothing: take the images of the run before"
    )


def run(options: argparse.Namespace, report: Report) -> None:
    """Build it, look at it, and serve from it."""
    options.folder.mkdir(parents=True, exist_ok=True)
    tools = Tools(options.folder)
    if options.as_built:
        report.skips("the steps of the Dockerfile", "--as-built: the images of the run before")
    else:
        _build(tools, report)
    _look_at_settings(tools, report)
    _find_no_installer(tools, report)
    _compile_an_extension(tools, report)
    _serve(tools, report)
    _serve_over_ray(tools, report)
    _start_as_kuberay_does(tools, report)
    report.skips("the bases by their digests", f"no registry is asked; {BASE} stood for both")
    report.skips("a GPU", "the part asks for none")


def _build(tools: Tools, report: Report) -> None:
    report.say("a clean Debian root, in a minute or two")
    report.holds("a clean root is there", clean_root(tools))
    index = torch_index()
    if index is not None:
        report.skips("torch's CPU wheels", f"their host is out of reach; {index} has CUDA's")
    report.say("every step of the Dockerfile; the first time 3 GB are downloaded, in ten minutes")
    began = monotonic()
    build(tools, index, report.say)
    size = tools.buildah("images", "--format", "{{.Size}}", IMAGE).strip()
    report.holds("every step of VARIANT=cpu runs", f"{monotonic() - began:.0f} s, {size}")
    build(tools, index, report.say, target="cuda-base", name=COMPILERS)
    report.holds("the steps of cuda-base run", "on Debian in place of Ubuntu")


def _look_at_settings(tools: Tools, report: Report) -> None:
    settings = json.loads(tools.podman("inspect", "--type", "image", IMAGE))[0]["Config"]
    labels = {name.rsplit(".")[-1]: value for name, value in settings["Labels"].items()}
    expected = {
        "User": "10001:10001",
        "StopSignal": "SIGTERM",
        "Entrypoint": ["tini", "--", "leyden"],
        "Cmd": ["serve", "--in-process"],
        "WorkingDir": "/home/leyden",
        "Healthcheck": None,
    }
    seen = {name: settings.get(name) for name in expected}
    _judge(report, "its settings", seen == expected, f"{seen}")
    _judge(report, "its labels", labels.get("version") == __version__, f"{labels}")


def _find_no_installer(tools: Tools, report: Report) -> None:
    with container(tools, IMAGE, *IN_PROCESS, name="leyden-test-tools") as running:
        running.address()
        refused = []
        for command in (["python", "-m", "pip", "--version"], ["touch", "/opt/leyden/x"]):
            try:
                running.execute(*command)
            except CommandError:
                refused.append(command[-1])
    _judge(report, "nothing can be installed in it", len(refused) == 2, f"refused: {refused}")


def _compile_an_extension(tools: Tools, report: Report) -> None:
    script = (
        f"printf '{EXTENSION}' > /tmp/a.c && g++ -shared -fPIC -x c /tmp/a.c -o /tmp/a.so "
        "-I$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"include\"))') && echo built"
    ).replace("\n", "\\n")
    with container(
        tools,
        COMPILERS,
        "-c",
        script,
        name="leyden-test-compiler",
        options=["--entrypoint", "bash"],
    ) as running:
        running.process.wait(PATIENCE_S)
    said = " ".join(running.said)
    _judge(report, "cuda-base compiles against Python.h, as Triton does", "built" in said, said)


def _serve(tools: Tools, report: Report) -> None:
    report.say("the server in it, as user 10001, with a read-only root and no capability")
    with container(tools, IMAGE, *IN_PROCESS, name="leyden-test-serve") as running:
        address = running.address()
        _judge_confinement(running, report)
        _generate(address, report)
        _drain(running, address, report)


def _judge_confinement(running: Container, report: Report) -> None:
    status = running.status_of_main()
    names = ("Uid", "CapEff", "CapBnd", "NoNewPrivs")
    seen = {name: status[name].split()[0] for name in names}
    expected = dict(zip(names, ("10001", "0" * 16, "0" * 16, "1"), strict=True))
    _judge(report, "it runs confined", seen == expected, f"{seen}")


def _generate(address: str, report: Report) -> None:
    with Client(address) as client:
        generation = client.generate_image(PROMPT, seed=7)
    [image] = generation.images
    with Image.open(io.BytesIO(image.data)) as picture:
        picture.load()
        seen = f"{picture.format} of {picture.width} x {picture.height}, {len(image.data)} bytes"
        colours = len(picture.convert("RGB").getcolors(1 << 24) or ())
    _judge(report, "an image by gRPC", colours > 1000, f"{seen}, {colours} colours")


def _drain(running: Container, address: str, report: Report) -> None:
    begun, ended = threading.Event(), threading.Event()

    def generate() -> None:
        with Client(address) as client:
            for event in client.stream_image(PROMPT, seed=7, image_count=4):
                if isinstance(event, DenoiseProgress):
                    begun.set()
        ended.set()

    caller = threading.Thread(target=generate, daemon=True)
    caller.start()
    assert begun.wait(PATIENCE_S), "no step was done"
    status = running.stop()
    caller.join(PATIENCE_S)
    what_ran = "ended well" if ended.is_set() else "broke"
    seen = f"exit status {status}, and the generation that ran {what_ran}"
    _judge(report, "the stop signal drains it", status == 0 and ended.is_set(), seen)


def _serve_over_ray(tools: Tools, report: Report) -> None:
    report.say("the server with Ray in it, in a network of its own")
    with container(tools, IMAGE, "serve", name="leyden-test-ray", network="none") as running:
        running.address()
        said = running.execute("leyden", "generate", PROMPT, "-o", "/tmp/a.png")
        size = running.execute("stat", "--format", "%s", "/tmp/a.png").strip()
        status = running.stop()
    seen = f"{size} bytes; exit status {status}; {said.splitlines()[-1:]}"
    _judge(report, "an image over Ray, its root read-only", int(size) > 1000 and not status, seen)


def _start_as_kuberay_does(tools: Tools, report: Report) -> None:
    report.say("a Ray head by KubeRay's command, asked by its probe")
    shell = ["--entrypoint", "/bin/bash"]
    command = ("-c", "--", f"ulimit -n 1024; {RAY_HEAD}")
    with container(
        tools, IMAGE, *command, name="leyden-test-head", network="none", options=shell
    ) as running:
        running.wait_for(STARTED)
        seen = running.execute("bash", "-c", f"until {PROBE}; do sleep 1; done")
    _judge(report, "KubeRay's command and probe", seen.count("success") >= 2, seen)


def _judge(report: Report, check: str, holds: bool, seen: str) -> None:
    (report.holds if holds else report.fails)(check, seen)


PART = Part(
    summary="the image: its Dockerfile's steps, and the server in it",
    run=run,
    missing=missing,
    add_options=add_options,
)
