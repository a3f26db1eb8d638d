"""The image's Dockerfile holds to hadolint's rules and to the house's, and broken ones do not.

`make test-cluster ARGS=image` runs its steps, and the server in what comes of them.
"""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.dockerfile import Dockerfile, Stage

from leyden_client import __version__

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "k8s" / "image"
TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
BY_DIGEST = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
A_NUMBER_EACH = re.compile(r"[1-9]\d*:[1-9]\d*")
LABELS = {"title", "description", "licenses", "version", "revision", "created"}
NEEDED = {
    "cpu-base": {"bash", "ca-certificates", "python3", "tini", "wget"},
    "cuda-base": {"bash", "ca-certificates", "g++", "python3", "python3-dev", "tini", "wget"},
}
"""KubeRay's commands want bash and wget, Triton a compiler and Python's headers."""


def lint(text: str) -> str:
    """Return what hadolint says of a Dockerfile's text; "" where it finds nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run(
        [hadolint, "--no-color", "--config", FOLDER / "hadolint.yaml", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in {0, 1}, result.stderr
    return result.stdout + result.stderr


def faults(text: str) -> list[str]:
    """Return where a Dockerfile's text breaks the rules of the house."""
    file = Dockerfile.read(text)
    last = file.stages[-1]
    return [
        *(
            f"{name} has no tag and digest: {value}"
            for name, value in file.arguments.items()
            if name.endswith("_BASE") and not BY_DIGEST.fullmatch(value)
        ),
        *(
            f"FROM {stage.base} is not a base of the file"
            for stage in file.stages
            if stage.base not in _bases(file)
        ),
        *(
            f"{stage.name} lacks {package}"
            for stage in file.stages
            for package in NEEDED.get(stage.name, set()) - _packages(stage)
        ),
        *(
            f"pip chooses versions by itself: {run.rest}"
            for stage in file.stages
            for run in stage.all("RUN")
            if "-m pip " in run.rest and " --constraint constraints.txt " not in run.rest
        ),
        *_faults_of_the_distributions(file),
        *_faults_of_the_last(last),
    ]


def _faults_of_the_distributions(file: Dockerfile) -> list[str]:
    """Ray takes no node with another Python, and one cluster has pods of both variants."""
    cpu, cuda = file.arguments["CPU_BASE"], file.arguments["CUDA_BASE"]
    is_one = cpu.startswith("ubuntu:noble-") and "-ubuntu24.04@" in cuda
    return [] if is_one else [f"two distributions, so two Pythons: {cpu}, {cuda}"]


def _bases(file: Dockerfile) -> set[str]:
    names = {stage.name for stage in file.stages}
    return {f"${{{a}}}" for a in file.arguments} | names | {"${VARIANT}-build", "${VARIANT}-base"}


def _packages(stage: Stage) -> set[str]:
    return {word for run in stage.all("RUN") for word in run.rest.split()}


def _faults_of_the_last(stage: Stage) -> list[str]:
    found = []
    user = stage.all("USER")
    if not user or not A_NUMBER_EACH.fullmatch(user[-1].rest):
        found.append("the user is not a number, with its group")
    if any(word in run.rest for run in stage.all("RUN") for word in ("apt-get", "pip", "wget ")):
        found.append("the stage that is served installs something")
    if any(stage.all("HEALTHCHECK")):
        found.append("there is a HEALTHCHECK")
    if [i.rest for i in stage.all("STOPSIGNAL")] != ["SIGTERM"]:
        found.append("it is not stopped by SIGTERM")
    if stage.all("ENTRYPOINT")[-1].exec_form()[:2] != ["tini", "--"]:
        found.append("nobody reaps what Ray leaves behind")
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", stage.all("LABEL")[-1].rest))
    found += [f"no label {name}" for name in sorted(LABELS - labels)]
    if not re.search(r"\bPATH=/opt/leyden/bin:", stage.all("ENV")[0].rest):
        found.append("leyden and ray are not on the PATH")
    return found


def test_hadolint_finds_nothing() -> None:
    assert not lint(TEXT)


def test_the_rules_of_the_house_hold() -> None:
    assert faults(TEXT) == []


@pytest.mark.parametrize(
    ("of_it", "instead", "rule"),
    [
        ("USER 10001:10001", "USER root", "DL3002"),
        ("USER 10001:10001", "USER leyden", "DL3066"),
        ("FROM cpu-base AS cpu-build", "FROM debian AS cpu-build", "DL3006"),
        ("FROM cpu-base AS cpu-build", "FROM debian:latest AS cpu-build", "DL3007"),
        ("FROM cpu-base AS cpu-build", "FROM ghcr.io/a/b:1 AS cpu-build", "DL3026"),
        ("--no-install-recommends", "", "DL3015"),
        ("    && rm -rf /var/lib/apt/lists/*\n\n", "    && true\n\n", "DL3009"),
        ("WORKDIR /source", "WORKDIR source", "DL3000"),
        ('"${TORCH_INDEX}"', "${TORCH_INDEX}", "SC2086"),
        ("COPY server server", "ADD server server", "DL3020"),
        ('CMD ["serve", "--in-process"]', "CMD serve", "DL3025"),
        ("    && python3 -m venv", "    && sudo python3 -m venv", "DL3004"),
        (" AS runtime", " AS build", "DL3024"),
    ],
)
def test_hadolint_catches(of_it: str, instead: str, rule: str) -> None:
    assert of_it in TEXT

    assert rule in lint(TEXT.replace(of_it, instead))


@pytest.mark.parametrize(
    ("of_it", "instead", "fault"),
    [
        (" --constraint constraints.txt torch", " torch", "pip chooses versions"),
        ("USER 10001:10001", "USER leyden", "not a number"),
        ("USER 10001:10001", "USER 0:0", "not a number"),
        ("USER 10001:10001", "USER 10001", "not a number"),
        ("ubuntu:noble-20260610@", "ubuntu@", "no tag and digest"),
        ("ARG CUDA_BASE=", "ARG CUDA_BASE=nvidia/cuda:latest #", "no tag and digest"),
        ("FROM ${CPU_BASE}", "FROM debian:12", "not a base of the file"),
        ("ubuntu:noble-", "debian:bookworm-", "two distributions"),
        ("python3 tini wget", "python3 tini", "cpu-base lacks wget"),
        ("python3-dev ", "", "cuda-base lacks python3-dev"),
        ("g++ ", "", "cuda-base lacks g++"),
        ("RUN groupadd", "RUN apt-get install --yes x && groupadd", "installs something"),
        ("STOPSIGNAL SIGTERM\n", "", "not stopped by SIGTERM"),
        ("STOPSIGNAL", "HEALTHCHECK CMD true\nSTOPSIGNAL", "HEALTHCHECK"),
        ('"tini", "--", ', "", "reaps"),
        ("image.revision=", "image.ref=", "no label revision"),
        ("/opt/leyden/bin:${PATH}", "${PATH}", "PATH"),
    ],
)
def test_the_house_catches(of_it: str, instead: str, fault: str) -> None:
    assert of_it in TEXT

    found = faults(TEXT.replace(of_it, instead))

    assert any(fault in each for each in found), found


def test_the_version_is_that_of_the_distributions() -> None:
    [version] = [
        i.rest.partition("=")[2]
        for i in Dockerfile.read(TEXT).stages[-1].all("ARG")
        if i.rest.startswith("VERSION=")
    ]

    assert version == __version__


def test_the_base_has_the_toolkit_that_torch_is_built_for() -> None:
    toolkits = re.findall(
        r"cuda-toolkit\[.*?\]==([\d.]+)", " ".join(importlib.metadata.requires("torch") or ())
    )
    if not toolkits:
        pytest.skip("the torch here is built for no CUDA")

    assert f"nvidia/cuda:{toolkits[0]}-base-" in Dockerfile.read(TEXT).arguments["CUDA_BASE"]


def test_the_context_is_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = {s for st in Dockerfile.read(TEXT).stages for i in st.all("COPY") for s in i.sources()}

    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_the_weights_of_the_context_are_the_embedded_models() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "client/python", "server"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    weights = [name for name in tracked if name.endswith((".safetensors", ".bin", ".pt", ".ckpt"))]

    assert weights
    assert all(name.startswith("server/leyden_server/models/leyden-tiny-") for name in weights)
