"""TypeScript: the npm package `leyden-client`, by Node."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.languages.language import ROOT, Command, Language, Stubs, Tool

__all__ = ["LANGUAGE"]

FOLDER = ROOT / "client" / "typescript"
MODULES = FOLDER / "node_modules"
BUF = Path(sys.executable).parent / "buf"
OLDEST_NODE = (20, 19)


def _node_is_new() -> bool:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)\.(\d+)", said.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST_NODE


def _stubs(folder: Path) -> Sequence[Command]:
    paths = [part for path in ("leyden", "google/rpc") for part in ("--path", path)]
    template = str(FOLDER / "buf.gen.yaml")
    return [
        Command(
            "TypeScript stubs (buf generate, protoc-gen-es)",
            [str(BUF), "generate", "--template", template, "--output", str(folder), *paths],
            ROOT / "protos",
            {"PATH": f"{MODULES / '.bin'}:{Path(shutil.which('node') or 'node').parent}"},
        )
    ]


NODE = Tool("node", ("nodejs",), _node_is_new, f"{OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer")
NPM = Tool("npm", ("npm",))
INSTALLED = [
    Command("TypeScript packages (npm ci)", ["node", "scripts/install.mjs"], FOLDER),
]

BUILD = [
    *INSTALLED,
    Command("TypeScript build (tsc, ESM and CommonJS)", ["npm", "run", "-s", "build"], FOLDER),
]
"""Its tests are linted too, and have the types of what was built."""

LANGUAGE = Language(
    name="typescript",
    title="TypeScript",
    tools=[NODE, NPM],
    build=BUILD,
    runner=Command("TypeScript runner", ["node", "tests/runner.mjs"], FOLDER),
    lint=[
        Command("TypeScript format, style, types", ["npm", "run", "-s", "lint"], FOLDER),
    ],
    lint_tools=[NODE, NPM],
    prepare_lint=BUILD,
    tests=[
        Command("TypeScript tests (node --test)", ["npm", "test", "-s"], FOLDER),
        Command("TypeScript documentation (typedoc)", ["npm", "run", "-s", "docs"], FOLDER),
    ],
    stubs=Stubs(FOLDER / "src" / "gen", _stubs),
    stub_tools=[Tool("node"), Tool(str(MODULES / ".bin" / "protoc-gen-es"))],
    prepare_stubs=INSTALLED,
)
