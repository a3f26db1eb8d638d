"""Gets the tools of a language, and runs its commands: quietly, unless one fails."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from clients.languages.language import Command, Language, NotHereError, Stubs, Tool
from support.leash import leashed

__all__ = ["CommandError", "get", "lint", "run", "stale_stubs", "write_stubs"]

COMMAND_TIMEOUT_S = 1500.0
"""For a first build, which takes minutes: it ends a hang."""
SHOWN_LINES = 60
"""Of the output of a command that failed."""

_started_s = time.monotonic()


class CommandError(Exception):
    """A command failed; the text has its output."""


def say(what: str) -> None:
    """Tell the person at the terminal what runs now."""
    print(f"[{time.monotonic() - _started_s:4.0f} s] {what}", flush=True)


def get(tools: Iterable[Tool]) -> None:
    """Have all of these tools, by Debian's packages where they are not here.

    Raises:
        NotHereError: one cannot be had.

    """
    absent = [tool for tool in tools if not tool.is_here()]
    packages = [package for tool in absent for package in tool.debian_packages]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {', '.join(packages)} (apt-get)")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-q"], ["install", "-y", "-q", *packages]):
            done = subprocess.run(
                ["apt-get", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise NotHereError(f"apt-get install {' '.join(packages)}: {_tail(done.stderr, 3)}")
    for tool in absent:
        if not tool.is_here():
            by = f" (Debian: {', '.join(tool.debian_packages)})" if tool.debian_packages else ""
            why = tool.reason or "not here, or not as new as it must be"
            raise NotHereError(f"{tool.program} is {why}{by}")


def run(commands: Iterable[Command]) -> None:
    """Run commands one after another.

    Raises:
        CommandError: one failed.

    """
    for command in commands:
        say(command.title)
        _run(command)


def _run(command: Command) -> None:
    try:
        process = subprocess.Popen(
            leashed(command.arguments),
            cwd=command.folder,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"{command.title}: {error}") from error
    try:
        output, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{command.title}: ended after {COMMAND_TIMEOUT_S:g} s") from error
    finally:
        # What it has started too: make, mvn and cargo are not alone.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = [line for line in output.splitlines() if line.strip()]
    if command.hides:
        said = [line for line in said if not re.search(command.hides, line)]
    if process.returncode or (command.fails_by_output and said):
        arguments = " ".join(command.arguments)
        shown = _tail("\n".join(said), SHOWN_LINES)
        raise CommandError(
            f"{command.title} (status {process.returncode}): {arguments}\n"
            f"in {command.folder}\n{shown}"
        )


def lint(language: Language) -> None:
    """Run a language's formatter and linter; say so where there is no toolchain to run them.

    Linters that the language's own registry has are brought into the checkout or its caches first:
    no package of the machine is installed here, which `make test-clients` does.

    Raises:
        CommandError: one found something.

    """
    for tool in language.lint_tools:
        if not tool.is_here():
            by = f" ({tool.reason})" if tool.reason else ""
            say(f"{language.title}: not linted, {tool.program} is not here{by}; make test-clients")
            return
    run([*language.prepare_lint, *language.lint])


def write_stubs(stubs: Stubs) -> None:
    """Make the committed stubs exactly what the protos give.

    Raises:
        CommandError: a command failed.

    """
    with tempfile.TemporaryDirectory(prefix="leyden-stubs-") as folder:
        fresh = _made(stubs, Path(folder))
    for path in _files(stubs.folder, stubs.pattern).keys() - fresh.keys():
        (stubs.folder / path).unlink()
    for path, content in fresh.items():
        (stubs.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (stubs.folder / path).write_bytes(content)


def stale_stubs(stubs: Stubs) -> Sequence[str]:
    """Return the stubs that are not what the protos give, one a line.

    Raises:
        CommandError: a command failed.

    """
    with tempfile.TemporaryDirectory(prefix="leyden-stubs-") as folder:
        fresh = _made(stubs, Path(folder))
    committed = _files(stubs.folder, stubs.pattern)
    return [
        *(f"missing: {stubs.folder / path}" for path in sorted(fresh.keys() - committed.keys())),
        *(
            f"differs: {stubs.folder / path}"
            for path in sorted(fresh.keys() & committed.keys())
            if fresh[path] != committed[path]
        ),
        *(f"no proto: {stubs.folder / path}" for path in sorted(committed.keys() - fresh.keys())),
    ]


def _made(stubs: Stubs, folder: Path) -> dict[Path, bytes]:
    run(stubs.write(folder))
    return _files(folder, stubs.pattern)


def _files(folder: Path, pattern: str) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.glob(pattern)
        if path.is_file()
    }


def _tail(text: str, lines: int) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
