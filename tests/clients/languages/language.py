"""What the harness has to know of a language: how its client is made, checked and asked.

A module of this package, named for the folder below `client/`, has a constant `LANGUAGE` of the
type `Language`. Importing it starts nothing and fetches nothing.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

__all__ = ["ROOT", "Command", "Language", "NotHereError", "Stubs", "Tool"]

ROOT = Path(__file__).resolve().parents[3]
"""The checkout."""


class NotHereError(Exception):
    """A tool cannot be had on this machine; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that the harness runs, and shows the output of where it fails."""

    title: str
    """What it does, for the line that says that it runs: "Go format (gofmt)"."""
    arguments: Sequence[str]
    """The program and its arguments; no shell reads them."""
    folder: Path = ROOT
    """Where it runs."""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Variables beside those of this process."""
    fails_by_output: bool = False
    """Whether anything on standard output is a failure too, as with `gofmt -l`."""
    hides: str = ""
    """A regular expression; lines that match are known to be harmless, and are not output."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a language needs."""

    program: str
    """Its name on the PATH, or its path."""
    debian_packages: Sequence[str] = ()
    """What brings it by apt-get, where this process may install."""
    works: Callable[[], bool] | None = None
    """Whether what is there will do, as where a version matters. None: being there will."""

    needs: str = ""
    """What will do, in words, where a version matters: "1.88 or newer"."""

    @property
    def reason(self) -> str:
        """Why one that is here will not do; empty: it is not here, or nobody knows."""
        if not self.needs or shutil.which(self.program) is None:
            return ""
        return f"too old: it must be {self.needs}"

    def is_here(self) -> bool:
        """Tell whether it is there and will do."""
        found = shutil.which(self.program) is not None
        return found and (self.works is None or self.works())


@dataclass(frozen=True, slots=True)
class Stubs:
    """How the stubs of a language are made; they are committed below `folder`."""

    folder: Path
    """Where the committed stubs lie."""
    write: Callable[[Path], Sequence[Command]]
    """The commands that make the same files below the folder that is given, which is empty.

    The check for drift makes them in a folder of its own and compares.
    """
    pattern: str = "**/*"
    """Which files below `folder` are stubs, as `Path.glob` takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language, as the harness deals with it."""

    name: str
    """Folder below `client/`, module of this package, and argument of `make test-clients`."""
    title: str
    """Its name for people: the head of a column."""
    tools: Sequence[Tool] = ()
    """What it needs to build and to run."""
    build: Sequence[Command] = ()
    """What makes the client and the runner. Fast where nothing has changed."""
    runner: Command
    """What answers the cases: one ask a line in, one answer a line out."""
    lint: Sequence[Command] = ()
    """The formatter in its checking mode, and the linter; after `prepare_lint`."""
    lint_tools: Sequence[Tool] = ()
    """The toolchain that `lint` needs. Where one is not there, its commands are passed over, and
    said so."""
    prepare_lint: Sequence[Command] = ()
    """What brings the tools that `lint` runs, as `npm ci`; fast where it was done."""
    tests: Sequence[Command] = ()
    """Its own tests and its documentation, which are to end with status 0."""
    stubs: Stubs | None = None
    """None: none are committed."""
    stub_tools: Sequence[Tool] = ()
    """What makes the stubs, after `prepare_stubs`. Where one is not there, they are left alone, and
    it is said."""
    prepare_stubs: Sequence[Command] = ()
    """What brings the plugins that make stubs; fast where it was done."""
    compile_time: frozenset[str] = frozenset()
    """Names of cases that cannot be written in it, since its compiler refuses them."""
    load: Command | None = None
    """What answers a `load` ask. None: the runner does."""


PYTHON = sys.executable
"""The interpreter that runs the harness: that of the project's venv."""
