"""Runs unchanged clients of Triton's protocol against Leyden: what `make test-triton` does.

    python tests/triton_clients/run.py [PYTEST-ARGUMENTS...]

Each client's tests run in a venv of its own, by the pytest there. Leyden is this checkout's, as
a process of its own; the comparison also starts a real tritonserver, where one can be had.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from triton_clients.environments import (  # noqa: E402 - found by the line above
    NO_SHARED_PYTHON,
    Environment,
    InstallError,
    NoWheelError,
    shared_python,
)
from triton_clients.servers import MODEL, ServerError, leyden, tritonserver  # noqa: E402

BESIDE = "beside_tritonserver"

NOTHING_COLLECTED = 5
"""pytest's exit code where -k left none."""


HANGS_AFTER_S = 1200
"""For the tests of one folder, which take seconds; nothing is judged by it."""


def main(arguments: list[str]) -> int:
    """Make the venvs, start the servers, run the tests; return the exit code."""
    tritonclient, kserve = Environment("tritonclient"), Environment("kserve")
    try:
        tritonclient.make()
        kserve.make()
        triton, missing = real_triton()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-triton-")))
            print(f"Starting leyden serve --in-process with {MODEL}", flush=True)
            address = stack.enter_context(leyden(folder))
            variables = {"LEYDEN_ADDRESS": address, "LEYDEN_MODEL": MODEL}
            failed = [
                name
                for environment, name in (
                    (tritonclient, "with_tritonclient"),
                    (kserve, "with_kserve"),
                )
                if not passes(environment, name, variables, arguments)
            ]
            if triton is None:
                print(f"\n== {BESIDE}: SKIPPED: {missing}", flush=True)
            else:
                variables["TRITON_ADDRESS"] = stack.enter_context(
                    tritonserver(triton, repository(tritonclient, address, folder), folder)
                )
                if not passes(tritonclient, BESIDE, variables, arguments):
                    failed.append(BESIDE)
    except (InstallError, ServerError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    if failed:
        print(f"\nFAILED: {', '.join(failed)}", file=sys.stderr)
        return 1
    print("\nAll of them passed." if triton else "\nAll passed but what was skipped.")
    return 0


def real_triton() -> tuple[Environment | None, str]:
    """Return the venv with a real tritonserver; or None, and why there can be none here."""
    python = shared_python()
    if python is None:
        return None, NO_SHARED_PYTHON
    environment = Environment("tritonserver", python)
    try:
        environment.make()
    except NoWheelError as error:
        if "nvidia-pytriton" not in str(error):
            raise  # another package's pin, to be mended
        return None, str(error)
    return environment, ""


def repository(environment: Environment, address: str, folder: Path) -> Path:
    """Write the model repository for tritonserver; return where it is."""
    models = folder / "models"
    script = HERE / BESIDE / "write_repository.py"
    subprocess.run(
        [str(environment.python), str(script), address, MODEL, str(models)],
        check=True,
        env=outside(),
    )
    return models


def passes(
    environment: Environment, name: str, variables: dict[str, str], arguments: list[str]
) -> bool:
    """Run the tests of one folder by the pytest of a venv; tell whether none failed."""
    print(f"\n== {name}", flush=True)
    pytest = [str(environment.python), "-m", "pytest", "-c", "pytest.ini", "--rootdir", "."]
    try:
        done = subprocess.run(
            [*pytest, name, *arguments],
            cwd=HERE,
            env=outside() | variables,
            check=False,
            timeout=HANGS_AFTER_S,
        )
    except subprocess.TimeoutExpired:
        print(f"ended after {HANGS_AFTER_S} s: a test hangs", file=sys.stderr)
        return False
    return done.returncode in {0, NOTHING_COLLECTED}


def outside() -> dict[str, str]:
    """Return the environment without what leads to the project's own packages and settings."""
    ours = ("PYTHON", "PYTEST", "COV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
