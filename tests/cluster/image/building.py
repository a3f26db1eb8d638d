"""Builds the image from its Dockerfile, on a clean Debian root in place of a registry's base."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cluster.image.tools import Tools

__all__ = ["BASE", "DOCKERFILE", "IMAGE", "build", "clean_root", "torch_index"]

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "k8s" / "image" / "Dockerfile"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
BASE = f"localhost/leyden-test/debian:{SUITE}"
IMAGE = "localhost/leyden-test/leyden:cpu"
CPU_WHEELS = "download.pytorch.org"
AUTHORITIES = "/run/secrets/authorities.pem"


def clean_root(tools: Tools) -> str:
    """Make an image of Debian's smallest root, unless there is one; return where it came from."""
    if BASE in tools.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return f"{BASE}, of an earlier run"
    container = tools.buildah("from", "scratch").strip()
    folder = tools.buildah("mount", container).strip()
    tools.run("debootstrap", "--variant=minbase", SUITE, folder, MIRROR)
    tools.buildah("commit", "--quiet", "--rm", container, BASE)
    return f"{BASE}, by debootstrap"


def torch_index() -> str | None:
    """Return where torch comes from in place of its CPU wheels; None: those can be had."""
    try:
        socket.create_connection((CPU_WHEELS, 443), timeout=10).close()
    except OSError:
        return "https://pypi.org/simple"
    return None


def build(
    tools: Tools,
    index: str | None,
    say: Callable[[str], None],
    *,
    target: str = "runtime",
    name: str = IMAGE,
) -> None:
    """Run every step of the Dockerfile that a stage needs, and say which one is run.

    No step but the last is kept: that of torch alone is 5 GB, and each copy of it as much again.
    """
    arguments = [f"CPU_BASE={BASE}", f"CUDA_BASE={BASE}"]
    if index is not None:
        arguments.append(f"CPU_TORCH_INDEX={index}")
    with tempfile.TemporaryDirectory(prefix="leyden-image-") as folder:
        # Debian's buildah does not find a stage whose name comes from an argument.
        text = DOCKERFILE.read_text(encoding="utf-8").replace("FROM ${VARIANT}-", "FROM cpu-")
        file = Path(folder, "Dockerfile")
        file.write_text(text, encoding="utf-8")
        tools.buildah(
            "bud",
            *("--isolation", "chroot", "--format", "docker", "--pull-never"),
            *(word for argument in arguments for word in ("--build-arg", argument)),
            *_secrets(Path(folder)),
            *("--target", target, "--tag", name, "--file", file, ROOT),
            follow=lambda line: say(line.strip()[:100]) if "] STEP " in line else None,
        )


def _secrets(folder: Path) -> list[str]:
    """Return options that hand this machine's settings of pip to the build."""
    authorities = _pip_setting("cert")
    settings = [f"cert = {AUTHORITIES}"] if authorities else []
    settings += [f"{n} = {v}" for n in ("index-url", "proxy") if (v := _pip_setting(n))]
    conf = folder / "pip.conf"
    conf.write_text("\n".join(["[global]", *settings, ""]), encoding="utf-8")
    options = ["--secret", f"id=pip.conf,src={conf}"]
    if authorities:
        options += ["--secret", f"id=authorities,src={shutil.copy(authorities, folder)}"]
    return options


def _pip_setting(name: str) -> str:
    variable = f"PIP_{name.upper().replace('-', '_')}"
    if variable in os.environ:
        return os.environ[variable]
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
