"""Who may import what: the rules of docs/architecture.md, read off the imports themselves."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patience import PATIENCE_S

import leyden_cli
import leyden_client
import leyden_server

SERVER = Path(leyden_server.__file__).parent
CLIENT = Path(leyden_client.__file__).parent
COMMAND = Path(leyden_cli.__file__).parent
DEPLOYED = ("gateway", "text_encoder", "denoiser", "vae")
OVER_RAY = ("over_ray", "ray_handle", "replica", "replica_counts")
HEAVY = ("torch", "ray", "diffusers", "transformers", "grpc")


def modules_of(*folders: str) -> list[str]:
    """Name every module below folders (or single modules) of the server."""
    found = []
    for folder in folders:
        root = SERVER / folder
        files = root.rglob("*.py") if root.is_dir() else [root.with_suffix(".py")]
        found += [
            ".".join(("leyden_server", *file.relative_to(SERVER).with_suffix("").parts))
            for file in files
        ]
    return [name.removesuffix(".__init__") for name in sorted(found)]


def imported_by(*modules: str) -> set[str]:
    """Import modules in a new process; return which heavy packages came along."""
    code = f"import sys, importlib\nfor m in {modules!r}: importlib.import_module(m)\n"
    code += f"print(*(m for m in {HEAVY!r} if m in sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def written_imports(file: Path) -> Iterator[str]:
    """Yield what a file imports anywhere in it, late imports too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def who_imports(*packages: str, within: Path = SERVER) -> set[str]:
    """Return the files below `within`, by their paths, that import one of the packages."""
    return {
        str(file.relative_to(within))
        for file in within.rglob("*.py")
        if any(
            name == package or name.startswith(f"{package}.")
            for name in written_imports(file)
            for package in packages
        )
    }


def test_policy_config_and_the_ground_import_nothing_heavy() -> None:
    light = ("config", "errors", "strict_model", "sampling", "service_order", "address")
    rooms = ("stages/contract", "accelerator/row_caps", "checkpoint", "model_repository")
    modules = modules_of(*light, *rooms)
    assert imported_by(*modules, "leyden_server.denoiser.step_scheduler") == set()


def test_what_files_are_is_known_without_the_models_they_are_for() -> None:
    ours = {
        name
        for file in (SERVER / "checkpoint").rglob("*.py")
        for name in written_imports(file)
        if name.startswith("leyden_server.") and not name.startswith("leyden_server.checkpoint")
    }
    assert {name.split(".")[1] for name in ours} <= {"errors", "sampling"}


def test_the_commands_import_nothing_heavy_of_the_server() -> None:
    assert imported_by("leyden_cli.main", "leyden_cli.server") == set()


@pytest.mark.parametrize(
    "argv", [["--version"], ["serve", "--help"], ["serve", "--prot", "1"], ["generate", "--stepz"]]
)
def test_a_command_line_that_only_has_to_be_read_imports_nothing_heavy(argv: list[str]) -> None:
    code = f"import sys\nfrom leyden_cli.main import main\ntry: main({argv!r})\n"
    code += f"except SystemExit: print(*(m for m in {HEAVY!r} if m in sys.modules), 'done')"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert result.stdout.splitlines()[-1] == "done"


@pytest.mark.parametrize(
    ("room", "packages"),
    [
        (SERVER, ("leyden_client", "leyden_cli", "leyden_training")),
        (CLIENT, ("leyden_server", "leyden_cli", "leyden_training")),
    ],
)
def test_the_command_alone_knows_both_the_client_and_the_server(
    room: Path, packages: tuple[str, ...]
) -> None:
    assert who_imports(*packages, within=room) == set()


def test_the_commands_of_the_client_do_not_need_the_server() -> None:
    importing = who_imports("leyden_server", within=COMMAND)
    assert {path for path in importing if not path.startswith("server/")} == set()


def test_the_gateway_and_the_deployments_shells_import_no_torch() -> None:
    shells = [f"leyden_server.{stage}.deployment" for stage in ("text_encoder", "denoiser", "vae")]
    modules = [*modules_of("gateway", "generations"), *shells]
    assert not imported_by(*modules) & {"torch", "diffusers", "transformers"}


def test_the_house_imports_no_transport_and_no_accelerator() -> None:
    assert imported_by(*modules_of("generations")) == set()


def test_a_simulation_needs_no_torch_and_ray_for_its_autoscaler_alone() -> None:
    """`leyden plan` runs on a laptop, and starts at once."""
    modules = [name for name in modules_of("sizing") if not name.endswith("serve_autoscaler")]
    assert imported_by(*modules) == set()
    assert "torch" not in imported_by("leyden_server.sizing.serve_autoscaler")


def test_nothing_else_sorts_by_the_order_of_service() -> None:
    """`service_order.py` has the key; whoever sorts images asks it."""
    makes_keys = [
        str(file.relative_to(SERVER))
        for file in SERVER.rglob("*.py")
        if re.search(r"priority_at|deadline_s\\b.*patience", file.read_text(encoding="utf-8"))
    ]
    assert sorted(makes_keys) == ["denoiser/load.py", "service_order.py"]


@pytest.mark.parametrize(
    ("packages", "allowed"),
    [
        (("google.protobuf", "leyden"), ("gateway/",)),
        (("grpc",), ("gateway/", "stages/ray_handle.py")),
        (("opentelemetry",), ("gateway/otlp.py",)),
        (
            ("ray",),
            (
                "controller/",
                *(
                    f"stages/{name}.py"
                    for name in ("over_ray", "ray_handle", "replica", "replica_counts")
                ),
                *(f"{room}/deployment.py" for room in DEPLOYED),
                "sizing/serve_autoscaler.py",
            ),
        ),
        (
            ("connectrpc", "protobuf", "uvicorn"),
            ("gateway/connect_call.py", "gateway/leyden_v1/over_connect.py", "gateway/web/"),
        ),
        (("aiohttp", "prometheus_client"), ("metrics/page.py", "metrics/exposition.py")),
        (
            ("torch", "diffusers", "transformers"),
            ("accelerator/", "text_encoder/", "denoiser/", "vae/"),
        ),
    ],
)
def test_a_package_is_imported_in_its_rooms_alone(
    packages: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    outside = {path for path in who_imports(*packages) if not path.startswith(allowed)}
    assert outside == set()
