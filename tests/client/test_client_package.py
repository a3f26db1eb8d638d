"""The package as a whole: what it exports, what it costs to import."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import leyden_client

PACKAGE = Path(leyden_client.__file__).parent

MEASURE_IMPORT = """
import sys, time
start = time.perf_counter()
import leyden_client
elapsed = time.perf_counter() - start
heavy = {"torch", "ray", "numpy", "rich", "argparse", "leyden_server"} & sys.modules.keys()
print(elapsed, *sorted(heavy))
"""


def test_all_is_what_the_package_imports() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
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


def test_the_version_is_the_distribution_s() -> None:
    assert leyden_client.__version__ == version("leyden")


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
