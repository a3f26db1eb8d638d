"""Go: the module `leyden.ai/leyden-go`. Its tools are pinned in tools.mod."""

import os
import re
import subprocess
from pathlib import Path

from clients.languages.language import PYTHON, ROOT, Command, Language, Stubs, Tool

__all__ = ["LANGUAGE"]

FOLDER = ROOT / "client" / "go"
BUILT = ROOT / "build" / "clients" / "go"
"""The runner and the linter."""
OLDEST = (1, 25)


def go(title: str, *arguments: str) -> Command:
    """Return a command of go, which is not to write the checkout's state into programs."""
    return Command(f"Go {title}", ["go", *arguments], FOLDER, {"GOFLAGS": "-buildvcs=false"})


def new_enough() -> bool:
    """Tell whether go is as new as the module needs, or gets a toolchain that is."""
    said = subprocess.run(
        ["go", "version"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    found = re.search(r"go(\d+)\.(\d+)", said.stdout)
    return said.returncode == 0 and found is not None and (int(found[1]), int(found[2])) >= OLDEST


def stubs(folder: Path) -> list[Command]:
    """Return what makes the stubs, by the plugins that tools.mod pins."""
    buf = str(Path(PYTHON).parent / "buf")
    protos = ROOT / "protos"
    return [
        Command(
            "Go stubs (buf generate)",
            [buf, "generate", str(protos), "--path", str(protos / "leyden"), "-o", str(folder)],
            FOLDER,
            {"GOFLAGS": "-buildvcs=false", "PATH": os.environ.get("PATH", os.defpath)},
        )
    ]


GO = Tool("go", ["golang-go"], new_enough, f"{OLDEST[0]}.{OLDEST[1]} or newer")

LANGUAGE = Language(
    name="go",
    title="Go",
    tools=[GO],
    build=[
        go("client and examples (go build)", "build", "./..."),
        go("runner (go build)", "build", "-o", f"{BUILT / 'runner'}", "./internal/runner"),
    ],
    runner=Command("Go runner", [str(BUILT / "runner")]),
    prepare_lint=[
        go(
            "linter (go build)",
            *("build", "-modfile=tools.mod", "-o", str(BUILT / "staticcheck")),
            "honnef.co/go/tools/cmd/staticcheck",
        )
    ],
    lint=[
        Command("Go format (gofmt)", ["gofmt", "-l", "."], FOLDER, fails_by_output=True),
        go("vet", "vet", "./..."),
        Command("Go style (staticcheck)", [str(BUILT / "staticcheck"), "./..."], FOLDER),
    ],
    lint_tools=[GO, Tool("gofmt")],
    tests=[go("tests (go test)", "test", "./...")],
    stubs=Stubs(FOLDER, stubs, "leydenv1/*.pb.go"),
    stub_tools=[GO],
    compile_time=frozenset({"misspelt field"}),
)
