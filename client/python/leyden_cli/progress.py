"""What `leyden generate` shows while it waits: a live display, plain lines, or JSON."""

import dataclasses
import json
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from leyden_cli.terminal.detect import Terminal, ask_terminal, detect
from leyden_client.events import DenoiseProgress, Event, Image, Queued, Summary, TextEncoded
from leyden_client.options import OutputFormat

if TYPE_CHECKING:
    from rich.progress import TaskID


class ProgressDisplay(Protocol):
    """Shows events as they come; a context manager for as long as it shows."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, event: Event, path: str | None) -> None:
        """Show `event`; `path` is where its picture was written, if it was."""


def open_progress(*, as_json: bool, image_count: int, terminal: Terminal | None) -> ProgressDisplay:
    """Return the display that suits: JSON on stdout if asked, else one on stderr.

    A live display draws pictures too where `terminal` says how.
    """
    if as_json:
        return JsonLines()
    if sys.stderr.isatty():
        return LiveProgress(image_count, terminal)
    return PlainLines()


def terminal_of_process() -> Terminal | None:
    """Return how pictures are drawn in the terminal on stderr; None: not at all."""
    from rich.console import Console

    console = Console(stderr=True)
    colours = (
        console.color_system in {"truecolor", "256"}
        and not console.no_color
        and console.encoding.startswith("utf")
    )
    return detect(os.environ, colours=colours, ask=ask_terminal)


class _Lines:
    """A display that needs no setting up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class JsonLines(_Lines):
    """One JSON object for each event on stdout; bytes become their size and path."""

    def show(self, event: Event, path: str | None) -> None:
        """Print `event`."""
        fields: dict[str, Any] = {"event": _NAMES[type(event)], **dataclasses.asdict(event)}
        pictures = [fields, fields.get("preview")]
        for picture in pictures:
            if picture and "data" in picture:
                picture["size_bytes"] = len(picture.pop("data"))
                picture["path"] = path
        # Flushed, as the reader follows the generation while it runs.
        print(json.dumps(fields), flush=True)


_NAMES: dict[type[Event], str] = {
    Queued: "queued",
    TextEncoded: "text_encoded",
    DenoiseProgress: "denoise_progress",
    Image: "image",
    Summary: "summary",
}


class PlainLines(_Lines):
    """One line for each event on stderr, for logs and pipes."""

    def show(self, event: Event, path: str | None) -> None:
        """Print `event`; the summary is printed by the command itself."""
        match event:
            case Queued() | TextEncoded():
                line = _stage(event)
            case DenoiseProgress():
                line = (
                    f"image {event.image_index}: step {event.step} of {event.total_steps}, "
                    f"{event.elapsed_s:.1f} s since the start, {event.remaining_s:.1f} s left"
                )
            case Image():
                line = f"image {event.image_index}: {_ready(path)}"
            case Summary():
                return
        print(line, file=sys.stderr, flush=True)


class LiveProgress:
    """A line with a bar for each image on stderr, redrawn as events come, under pictures."""

    def __init__(self, image_count: int, terminal: Terminal | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        from leyden_cli.terminal.gallery import Gallery

        console = Console(stderr=True)
        self._gallery = None if terminal is None else Gallery(console, terminal, image_count)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[stage]}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
        )
        self._tasks: list[TaskID] = []
        self._add_tasks(image_count)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._gallery is not None and exc is not None:
            self._gallery.recover()
        self._progress.stop()

    def show(self, event: Event, path: str | None) -> None:
        """Redraw what `event` changed."""
        match event:
            case Queued() | TextEncoded():
                for task in self._tasks:
                    self._progress.update(task, stage=_stage(event))
            case DenoiseProgress():
                decoding = event.step == event.total_steps
                self._progress.update(
                    self._task(event.image_index),
                    completed=event.step,
                    total=event.total_steps,
                    stage="decoding" if decoding else f"step {event.step} of {event.total_steps}",
                    left="" if decoding else f"{event.remaining_s:.1f} s left",
                )
                if self._gallery is not None and event.preview is not None:
                    self._gallery.show(event.image_index, event.preview.data, last=decoding)
            case Image():
                self._progress.update(self._task(event.image_index), stage=_ready(path), left="")
                if self._gallery is not None and event.format is OutputFormat.PNG:
                    # Of a JPEG or WebP the last preview stays.
                    self._gallery.show(event.image_index, event.data, last=True)
            case Summary():
                pass

    def _task(self, image_index: int) -> "TaskID":
        """Return an image's line; who watches does not know beforehand how many there are."""
        self._add_tasks(image_index + 1)
        return self._tasks[image_index]

    def _add_tasks(self, count: int) -> None:
        for index in range(len(self._tasks), count):
            # No total yet: the bar pulses until the first step says how many there are.
            self._tasks.append(
                self._progress.add_task(f"image {index}", total=None, stage="connecting", left="")
            )


def _ready(path: str | None) -> str:
    return "ready" if path is None else f"written to {path}"


def _stage(event: Queued | TextEncoded) -> str:
    if isinstance(event, TextEncoded):
        cut = ", cut" if event.truncated else ""
        return f"text encoded ({event.token_count} tokens{cut})"
    if event.expected_wait_s is None:
        return f"queued, {event.position} ahead"
    return f"queued, {event.position} ahead, about {event.expected_wait_s:.1f} s to wait"
