"""`leyden models pull`: fetches the files of a model from the hub into the local hub cache."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from leyden_server.errors import HubError, StartupError
from leyden_server.model_repository import ModelRepository, RepositoryItem
from leyden_server.model_repository.resolve import missing_hub_files

if TYPE_CHECKING:
    from leyden_server.model_repository.hub_listing import HubFile, HubSnapshot

__all__ = ["pull"]

KEPT = "what has come is kept; run the same command again to go on from there"


def pull(name: str, repositories: Sequence[Path], *, dry_run: bool) -> int:
    """Fetch what the cache lacks of a model, or only say what; return the exit code."""
    try:
        repository = ModelRepository(repositories)
        item = repository.item(name)
        missing = missing_hub_files(item)
        if missing or dry_run:
            _fetch(item, dry_run=dry_run)
        if not dry_run:
            # What else it needs is local, and may be missing.
            repository.resolve(name)
            print(f"{name} is complete; {_how_to_serve(item)}")
    except HubError as error:
        print(f"error: {error}", file=sys.stderr)
        for what in missing:
            print(f"missing: {what}", file=sys.stderr)
        return 1
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; {KEPT}", file=sys.stderr)
        return 130
    return 0


def _fetch(item: RepositoryItem, *, dry_run: bool) -> None:
    # Late, so that a model that is complete is said to be at once.
    from huggingface_hub import constants

    from leyden_server.model_repository.hub_listing import list_hub_files

    snapshots = list_hub_files(item)
    files = [file for snapshot in snapshots for file in snapshot.files]
    absent = [file for file in files if not file.is_cached]
    print(f"{item.name}: {item.entry.description} Licence: {item.entry.license}.")
    for snapshot in snapshots:
        print(f"{snapshot.repo} at {snapshot.revision} ({snapshot.commit})")
        if dry_run:
            _print_files(snapshot.files)
    print(
        f"{len(files)} files, {_size(files)}; {len(absent)} to fetch, {_size(absent)}, "
        f"into {constants.HF_HUB_CACHE}",
        flush=True,
    )
    if not dry_run:
        _fetch_all(snapshots, absent)


def _fetch_all(snapshots: "Sequence[HubSnapshot]", absent: "Sequence[HubFile]") -> None:
    from leyden_server.model_repository.hub_download import (
        check_room,
        fetch,
        publish,
        received_bytes,
    )

    check_room(sum(file.size_bytes - received_bytes(file) for file in absent))
    with _Progress(sum(file.size_bytes for file in absent)) as progress:
        for snapshot in snapshots:
            for file in snapshot.files:
                if file in absent:
                    with progress.file(file, received_bytes(file)):
                        fetch(file, progress.on_bytes, progress.on_check)
            publish(snapshot)


class _Progress:
    """A bar over all bytes on a terminal, a line for each file elsewhere; on stderr."""

    def __init__(self, total_bytes: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        console = Console(stderr=True)
        self._lines = not console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=self._lines,
        )
        self._task = self._bar.add_task("", total=total_bytes)
        self._name = ""

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @contextmanager
    def file(self, file: "HubFile", received_bytes: int) -> Iterator[None]:
        """Show that `file` is being fetched, of which so much is there already."""
        self._name = file.name
        self._bar.update(self._task, description=file.name)
        self.on_bytes(received_bytes)
        if self._lines:
            goes_on = f", going on after {_bytes(received_bytes)}" if received_bytes else ""
            line = f"fetching {file.name}, {_bytes(file.size_bytes)}{goes_on}"
            print(line, file=sys.stderr, flush=True)
        yield

    def on_bytes(self, count: int) -> None:
        """Count bytes that came."""
        self._bar.advance(self._task, count)

    def on_check(self) -> None:
        """Show that the file has come and is being checked."""
        self._bar.update(self._task, description=f"checking {self._name}")


def _print_files(files: "Sequence[HubFile]") -> None:
    for file in files:
        state = "in the cache" if file.is_cached else "to fetch"
        print(f"  {_bytes(file.size_bytes):>10}  {state:<12}  {file.name}")


def _how_to_serve(item: RepositoryItem) -> str:
    _, _, options = item.pull_command.partition(item.name)
    return f"start it with: leyden serve --model {item.name}{options}"


def _size(files: "Sequence[HubFile]") -> str:
    return _bytes(sum(file.size_bytes for file in files))


def _bytes(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)
