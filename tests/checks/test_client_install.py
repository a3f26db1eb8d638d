"""The three distributions: what is in each, and the client installed alone, on both protobufs."""

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import leyden_client

ROOT = Path(__file__).resolve().parents[2]
VERSION = leyden_client.__version__
IMPORT_LIMIT = 1.5
"""Times what gRPC itself takes to be imported; 0.6 was seen, and 0.1 s."""
CLIENT_WHEEL_BYTES_LIMIT = 1_000_000

# The first environment takes as long as pip needs to download its packages.
pytestmark = pytest.mark.timeout(600)

TIME_IMPORT = """
import sys, time
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
heavy = {{"torch", "ray", "numpy", "PIL"}} & set(sys.modules)
assert not heavy, heavy
print(seconds)
"""

ROUND_TRIP = """
import google.protobuf
from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc, model_service_pb2_grpc

request = pb.GenerateImageRequest(prompt="a storm", seed=2**53 - 1, guidance_scale=0.0)
again = pb.GenerateImageRequest.FromString(request.SerializeToString())
assert again == request
assert again.HasField("guidance_scale") and again.seed == 2**53 - 1
assert image_generation_service_pb2_grpc.ImageGenerationServiceStub
assert model_service_pb2_grpc.ModelServiceStub
print(google.protobuf.__version__)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of this checkout by their distribution's name, built once."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = (ROOT / "client" / "python", ROOT, ROOT / "training")
    pip("wheel", "--no-deps", "--wheel-dir", folder, *sources)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module", params=["6.33", "7"])
def client_python(
    request: pytest.FixtureRequest,
    wheels: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The interpreter of an environment with the client and one major version of protobuf."""
    python = new_environment(tmp_path_factory.mktemp("client"))
    install(python, wheels["leyden_client"], f"protobuf=={request.param}.*")
    version = run(python, "-c", ROUND_TRIP).strip()
    assert version.startswith(f"{request.param}.")
    return python


@pytest.fixture(scope="module")
def command_python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the client and its command."""
    python = new_environment(tmp_path_factory.mktemp("command"))
    install(python, f"{wheels['leyden_client']}[cli]")
    return python


def new_environment(folder: Path) -> Path:
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def install(python: Path, *what: str | Path) -> None:
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what)


def pip(*arguments: str | Path) -> str:
    return run(sys.executable, "-m", "pip", "--quiet", *arguments)


def contents(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def read(wheel: Path, ending: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(ending)]
        return archive.read(name)


def metadata(wheel: Path) -> Message:
    return message_from_bytes(read(wheel, ".dist-info/METADATA"))


def run(*command: str | Path) -> str:
    """Returns the standard output; fails the test with everything that was said."""
    # Away from the checkout, so that nothing is imported from its folders.
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(sys.prefix),
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    if result.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


# ---- what is in each --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("leyden_client", {"leyden", "leyden_client", "leyden_cli"}),
        ("leyden", {"leyden_server"}),
        ("leyden_training", {"leyden_training"}),
    ],
)
def test_each_distribution_has_its_own_packages_and_the_one_version(
    wheels: dict[str, Path], name: str, packages: set[str]
) -> None:
    info = f"{name}-{VERSION}.dist-info"
    assert {path.partition("/")[0] for path in contents(wheels[name])} == packages | {info}
    assert f"{info}/licenses/LICENSE" in contents(wheels[name])
    assert metadata(wheels[name])["Version"] == VERSION


def test_the_client_is_small_and_the_server_brings_its_models(wheels: dict[str, Path]) -> None:
    assert wheels["leyden_client"].stat().st_size < CLIENT_WHEEL_BYTES_LIMIT
    assert any(path.endswith(".safetensors") for path in contents(wheels["leyden"]))


def test_the_distributions_need_each_other_at_the_same_version(wheels: dict[str, Path]) -> None:
    needs = {
        name: {
            text
            for text in metadata(wheel).get_all("Requires-Dist", [])
            if text.startswith("leyden")
        }
        for name, wheel in wheels.items()
    }
    assert needs == {
        "leyden_client": set(),
        "leyden": {f"leyden-client[cli]=={VERSION}"},
        "leyden_training": {f"leyden=={VERSION}"},
    }


def test_who_brings_which_command(wheels: dict[str, Path]) -> None:
    points = {
        name: read(wheel, ".dist-info/entry_points.txt").decode().split("\n\n")
        for name, wheel in wheels.items()
    }
    assert points["leyden_client"][0] == "[console_scripts]\nleyden = leyden_cli.main:main\n"
    assert points["leyden"][0] == "[leyden.commands]\nserver = leyden_cli.server:add_commands\n"
    assert "leyden-train = " in points["leyden_training"][0]


# ---- the client alone -------------------------------------------------------------


def test_nothing_else_is_installed(client_python: Path) -> None:
    listed = run(sys.executable, "-m", "pip", "--python", client_python, "list", "--format=freeze")
    names = {line.split("==")[0].lower() for line in listed.splitlines()}
    assert names == {
        "googleapis-common-protos",
        "grpcio",
        "leyden-client",
        "protobuf",
        "typing_extensions",  # grpcio's
    }


def test_importing_the_client_is_quick(client_python: Path) -> None:
    ours_s, grpcs_s = (
        min(float(run(client_python, "-c", TIME_IMPORT.format(module=module))) for _ in range(3))
        for module in ("leyden_client", "grpc.aio")
    )
    assert ours_s < IMPORT_LIMIT * grpcs_s


def test_the_command_without_its_extra_says_so(client_python: Path) -> None:
    result = subprocess.run(
        [client_python.parent / "leyden", "generate", "p", "-o", "a.png"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (
        1,
        "error: the leyden command needs rich: pip install 'leyden-client[cli]'\n",
    )


def test_the_server_adds_its_commands_and_costs_nothing_until_it_runs(
    command_python: Path, wheels: dict[str, Path]
) -> None:
    leyden = command_python.parent / "leyden"
    assert "run a server (needs: pip install" in " ".join(run(leyden, "--help").split())
    # Without what it needs: neither --help reaches for Ray or torch.
    install(command_python, "--no-deps", wheels["leyden"])
    said = " ".join(run(leyden, "--help").split())
    assert "start a server, generate one picture, stop" in said
    assert "needs:" not in said
    assert "--model-repository" in run(leyden, "serve", "--help")


def test_mypy_sees_the_types_of_the_installed_stubs(client_python: Path, tmp_path: Path) -> None:
    source = tmp_path / "caller.py"
    source.write_text(
        "from leyden.v1.image_generation_service_pb2 import GenerateImageRequest\n"
        "import leyden_client\n"
        "reveal_type(GenerateImageRequest().image_count)\n"
    )
    mypy = (sys.executable, "-m", "mypy", "--config-file=", f"--cache-dir={tmp_path}")

    said = run(*mypy, "--strict", "--python-executable", client_python, source)

    assert 'Revealed type is "int"' in said or 'Revealed type is "builtins.int"' in said
