"""The base install is a light client: built as a wheel, installed alone, on both protobufs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMPORT_SECONDS_LIMIT = 0.3

# The first environment takes as long as pip needs to download its packages.
pytestmark = pytest.mark.timeout(600)

TIME_IMPORT = """
import sys, time
start = time.perf_counter()
import leyden_client
seconds = time.perf_counter() - start
heavy = {"torch", "ray", "numpy", "PIL"} & set(sys.modules)
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
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built once."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (path,) = folder.glob("leyden-*.whl")
    return path


@pytest.fixture(scope="module", params=["6.33", "7"])
def client_python(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The interpreter of an environment with the wheel and one major version of protobuf."""
    venv = tmp_path_factory.mktemp("client")
    run(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, f"protobuf=={request.param}.*")
    version = run(python, "-c", ROUND_TRIP).strip()
    assert version.startswith(f"{request.param}.")
    return python


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


def test_nothing_heavy_is_installed(client_python: Path) -> None:
    installed = run(client_python, "-m", "pip", "list", "--format=freeze").lower().splitlines()
    names = {line.split("==")[0] for line in installed}

    assert "leyden" in names
    assert not names & {"torch", "ray", "numpy", "diffusers", "transformers", "pillow"}


def test_importing_the_client_is_quick(client_python: Path) -> None:
    seconds = min(float(run(client_python, "-c", TIME_IMPORT)) for _ in range(3))

    assert seconds < IMPORT_SECONDS_LIMIT


def test_the_command_explains_itself(client_python: Path) -> None:
    leyden = client_python.parent / "leyden"

    assert "generate" in run(leyden, "--help")


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
