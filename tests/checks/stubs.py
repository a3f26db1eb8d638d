"""Writes the Python stubs of `protos/`, or checks that the committed ones are up to date.

python tests/checks/stubs.py write
python tests/checks/stubs.py check
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "leyden"


def generate_stubs(protos: Path, output: Path) -> None:
    """Runs protoc over every proto of the package, into the folder `output`."""
    bin_dir = Path(sys.executable).parent
    sources = sorted((protos / PACKAGE).rglob("*.proto"))
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


def stale_stubs(protos: Path, committed: Path) -> list[str]:
    """Names the stubs below `committed` that are not what `protos` generates, one a line."""
    with tempfile.TemporaryDirectory() as folder:
        generate_stubs(protos, Path(folder))
        fresh = _stubs_in(Path(folder))
    present = _stubs_in(committed)
    differing = [name for name in sorted(fresh) if name in present and fresh[name] != present[name]]
    return [
        *(f"missing: {name}" for name in sorted(fresh.keys() - present.keys())),
        *(f"differs: {name}" for name in differing),
        *(f"has no proto: {name}" for name in sorted(present.keys() - fresh.keys())),
    ]


def write_stubs(protos: Path, committed: Path) -> None:
    """Makes the stubs below `committed` exactly what `protos` generates."""
    with tempfile.TemporaryDirectory() as folder:
        generate_stubs(protos, Path(folder))
        fresh = _stubs_in(Path(folder))
    for name in _stubs_in(committed).keys() - fresh.keys():
        (committed / name).unlink()
    for name, content in fresh.items():
        (committed / name).parent.mkdir(parents=True, exist_ok=True)
        (committed / name).write_bytes(content)


def _stubs_in(folder: Path) -> dict[str, bytes]:
    paths = [*(folder / PACKAGE).rglob("*_pb2*.py"), *(folder / PACKAGE).rglob("*_pb2*.pyi")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def main() -> int:
    """Runs the command line; 1 where a stub is stale."""
    parser = argparse.ArgumentParser(description="Python stubs of the protos.")
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("--protos", type=Path, default=ROOT / "protos")
    parser.add_argument("--stubs", type=Path, default=ROOT / "client" / "python")
    arguments = parser.parse_args()
    if arguments.action == "write":
        write_stubs(arguments.protos, arguments.stubs)
        return 0
    stale = stale_stubs(arguments.protos, arguments.stubs)
    if stale:
        print(
            *stale, "The stubs do not match protos/. Cure: make protos", sep="\n", file=sys.stderr
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
