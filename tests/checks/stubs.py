"""Writes the Python stubs of `protos/`, or checks that the committed ones are up to date.

python tests/checks/stubs.py write
python tests/checks/stubs.py check

Those of `leyden` are the client's. Those of `inference` are the server's alone, and lie inside of
it with a pool of descriptors of their own: a user may have another package of that name, and may
import `tritonclient`, whose messages have the same names.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class StubSet:
    """The stubs of one folder of `protos/`."""

    package: str
    """The folder."""
    parent: Path
    """Where the folder of stubs lies, below the root."""
    module: str = ""
    """What its Python package is inside of; empty: nothing."""

    def settled(self, stub: str) -> str:
        """Return a stub's text as it is where it lies."""
        if not self.module:
            return stub
        home = f"{self.module}.{self.package}"
        stub = stub.replace(f"from {self.package} import", f"from {home} import")
        return stub.replace(
            "from google.protobuf import descriptor_pool as _descriptor_pool",
            f"from {home} import descriptor_pool as _descriptor_pool",
        )


CLIENT = StubSet("leyden", Path("client", "python"))
FACADE = StubSet(
    "inference",
    Path("server", "leyden_server", "gateway", "kserve_v2"),
    "leyden_server.gateway.kserve_v2",
)


def generate_stubs(protos: Path, output: Path, stubs: StubSet = CLIENT) -> None:
    """Runs protoc over every proto of the package, into the folder `output`."""
    bin_dir = Path(sys.executable).parent
    sources = sorted((protos / stubs.package).rglob("*.proto"))
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        f"-I{protos}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
        f"--plugin=protoc-gen-mypy={bin_dir / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={bin_dir / 'protoc-gen-mypy_grpc'}",
        *map(str, sources),
    ]
    subprocess.run(command, check=True)
    for path in _paths(output, stubs):
        path.write_text(stubs.settled(path.read_text(encoding="utf-8")), encoding="utf-8")


def stale_stubs(protos: Path, committed: Path, stubs: StubSet = CLIENT) -> list[str]:
    """Names the stubs below `committed` that are not what `protos` generates, one a line."""
    with tempfile.TemporaryDirectory() as folder:
        generate_stubs(protos, Path(folder), stubs)
        fresh = _stubs_in(Path(folder), stubs)
    present = _stubs_in(committed, stubs)
    differing = [name for name in sorted(fresh) if name in present and fresh[name] != present[name]]
    return [
        *(f"missing: {name}" for name in sorted(fresh.keys() - present.keys())),
        *(f"differs: {name}" for name in differing),
        *(f"has no proto: {name}" for name in sorted(present.keys() - fresh.keys())),
    ]


def write_stubs(protos: Path, committed: Path, stubs: StubSet = CLIENT) -> None:
    """Makes the stubs below `committed` exactly what `protos` generates."""
    with tempfile.TemporaryDirectory() as folder:
        generate_stubs(protos, Path(folder), stubs)
        fresh = _stubs_in(Path(folder), stubs)
    for name in _stubs_in(committed, stubs).keys() - fresh.keys():
        (committed / name).unlink()
    for name, content in fresh.items():
        (committed / name).parent.mkdir(parents=True, exist_ok=True)
        (committed / name).write_bytes(content)


def _paths(folder: Path, stubs: StubSet) -> list[Path]:
    home = folder / stubs.package
    return [*home.rglob("*_pb2*.py"), *home.rglob("*_pb2*.pyi")]


def _stubs_in(folder: Path, stubs: StubSet) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in _paths(folder, stubs)}


def main() -> int:
    """Runs the command line; 1 where a stub is stale."""
    parser = argparse.ArgumentParser(description="Python stubs of the protos.")
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("--protos", type=Path, default=ROOT / "protos")
    parser.add_argument("--stubs", type=Path, default=ROOT / CLIENT.parent, help="of leyden")
    parser.add_argument("--facade-stubs", type=Path, default=ROOT / FACADE.parent)
    arguments = parser.parse_args()
    sets = {CLIENT: arguments.stubs, FACADE: arguments.facade_stubs}
    if arguments.action == "write":
        for stubs, folder in sets.items():
            write_stubs(arguments.protos, folder, stubs)
        return 0
    stale = [
        line
        for stubs, folder in sets.items()
        for line in stale_stubs(arguments.protos, folder, stubs)
    ]
    if stale:
        print(
            *stale, "The stubs do not match protos/. Cure: make protos", sep="\n", file=sys.stderr
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
