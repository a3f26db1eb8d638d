"""Rust: cargo builds, tests and lints a workspace of client, runner and maker of stubs."""

import os
import re
import subprocess
from pathlib import Path

from clients.languages.language import PYTHON, ROOT, Command, Language, Stubs, Tool

__all__ = ["LANGUAGE"]

FOLDER = ROOT / "client" / "rust"
OLDEST = (1, 88)
"""As `rust-version` of Cargo.toml has it; Debian's own is older."""
PARTS = ("--locked", "--workspace")
"""All of the workspace each time: for a part of it cargo builds dependencies again, with other
features."""


def cargo(title: str, *arguments: str, **environment: str) -> Command:
    """Return a command of cargo."""
    return Command(f"Rust {title}", ["cargo", *arguments], FOLDER, environment)


def new_enough() -> bool:
    """Tell whether cargo is as new as the client needs."""
    said = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"cargo (\d+)\.(\d+)", said.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def stubs(folder: Path) -> list[Command]:
    """Return what makes the stubs; buf, which reads the protos, is in the venv."""
    path = os.pathsep.join([str(Path(PYTHON).parent), os.environ.get("PATH", os.defpath)])
    made = ("run", "--quiet", "--locked", "--package", "leyden-client-stubs", "--", str(folder))
    return [cargo("stubs", *made, PATH=path)]


CARGO = Tool("cargo", works=new_enough, needs=f"{OLDEST[0]}.{OLDEST[1]} or newer, as rustup has it")

LANGUAGE = Language(
    name="rust",
    title="Rust",
    tools=[CARGO, Tool("cc", ["gcc"])],
    build=[cargo("client and runner (cargo build)", "build", *PARTS, "--all-targets")],
    runner=Command("Rust runner", [str(FOLDER / "target" / "debug" / "leyden-client-runner")]),
    lint=[
        cargo("format (cargo fmt)", "fmt", "--all", "--check"),
        cargo("style (clippy)", "clippy", *PARTS, "--all-targets", "--", "--deny", "warnings"),
    ],
    lint_tools=[CARGO, Tool("cargo-clippy"), Tool("cargo-fmt")],
    tests=[
        cargo("tests (cargo test)", "test", *PARTS),
        cargo("docs (cargo doc)", "doc", *PARTS, "--no-deps", RUSTDOCFLAGS="--deny warnings"),
    ],
    stubs=Stubs(FOLDER / "src" / "generated", stubs),
    stub_tools=[CARGO],
    compile_time=frozenset({"misspelt field"}),
)
