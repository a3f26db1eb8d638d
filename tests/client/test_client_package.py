"""The package as a whole: what it exports, what it costs to import."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import leyden_client

PACKAGE = Path(leyden_client.__file__).parent

MEASURE_IMPORT = """
import sys, time
start = time.perf_counter()
import leyden_client
elapsed = time.perf_counter() - start
heavy = {"torch", "ray", "numpy", "rich", "argparse", "grpc", "google.protobuf"}
heavy = heavy & sys.modules.keys()
print(elapsed, *sorted(heavy))
"""


def test_all_is_what_the_package_imports() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("leyden_client")
        for alias in node.names
    }
    assert set(leyden_client.__all__) == imported
    assert len(leyden_client.__all__) == len(set(leyden_client.__all__))
    assert all(hasattr(leyden_client, name) for name in leyden_client.__all__)


def test_every_export_is_documented() -> None:
    classes = [getattr(leyden_client, name) for name in leyden_client.__all__]
    assert [c for c in classes if isinstance(c, type) and not c.__doc__] == []


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_the_version_is_that_of_all_distributions() -> None:
    for name in ("leyden-client", "leyden", "leyden-training"):
        assert leyden_client.__version__ == version(name)


def test_the_ground_imports_nothing_above_it() -> None:
    ground = {"_version", "_files", "errors", "options", "events", "models"}
    for name in ground:
        tree = ast.parse((PACKAGE / f"{name}.py").read_text())
        imported = {
            node.module.split(".")[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and node.module is not None
            and node.module.startswith("leyden_client.")
        }
        assert imported <= ground


def test_what_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        leyden_client.Clint  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("module", ["leyden_client", "leyden_client.aio", "leyden_client.client"])
def test_grpc_is_imported_quietly(module: str) -> None:
    """However the client is imported, gRPC finds GRPC_VERBOSITY at ERROR, and no one after it."""
    code = (
        "import builtins, os\n"
        "seen = []\n"
        "load = builtins.__import__\n"
        "def watching(name, *rest):\n"
        "    if name == 'grpc': seen.append(os.environ.get('GRPC_VERBOSITY'))\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = watching\n"
        f"import {module} as client\n"
        "client.Client if hasattr(client, 'Client') else client.AsyncClient\n"
        "print(seen[0], os.environ.get('GRPC_VERBOSITY'))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert result.stdout == "ERROR None\n"


def test_import_is_quick_and_light() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", MEASURE_IMPORT],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(PACKAGE.parent)},
        ).stdout.split()
        for _ in range(3)
    ]
    assert [heavy for _, *heavy in runs] == [[], [], []]
    assert min(float(elapsed_s) for elapsed_s, *_ in runs) < 0.3
