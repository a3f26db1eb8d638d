"""The pictures of a generation, side by side above the lines of its progress."""

import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style

from leyden_cli.terminal import protocols
from leyden_cli.terminal.detect import (
    GRAPHICS_SIZE_PX,
    MAX_COLUMNS,
    MAX_ROWS,
    Protocol,
    Terminal,
)
from leyden_cli.terminal.picture import Picture, PictureError
from leyden_cli.terminal.sixel import sixels

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_MIN_ROWS = 4
_MIN_COLUMNS = 8
_GAP_COLUMNS = 2
_PAUSE_S = 0.1
"""A picture that follows its forerunner more closely is passed over, unless it is the last."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Places for pictures of one size, in cells."""

    columns: int
    rows: int
    places: int
    """How many of the images have a place; the first ones."""


class Gallery:
    """Draws pictures in place, while rich keeps the progress lines below them.

    rich prints above its live display with the cursor at the display's start, and then
    draws the display again. So the place is so many empty lines that are printed once,
    and a picture is an output of no height that goes up into them and comes back.
    """

    def __init__(self, console: "Console", terminal: Terminal, image_count: int) -> None:
        self._console = console
        self._terminal = terminal
        self._image_count = image_count
        self._layout: _Layout | None = None
        self._drawn_s: dict[int, float] = {}
        # Not those of an earlier run, whose pictures are still on the screen.
        self._image_ids = [secrets.randbelow(2**31) + 1 for _ in range(image_count)]

    def show(self, image_index: int, png: bytes, *, last: bool) -> None:
        """Draw a picture in its image's place; what is no PNG that can be shown is passed over."""
        now = time.monotonic()
        if not last and now - self._drawn_s.get(image_index, 0.0) < _PAUSE_S:
            return
        try:
            picture = Picture.from_png(png)
        except PictureError:
            return
        if self._layout is None:
            self._layout = self._make_place(picture)
        if image_index < self._layout.places:
            self._draw(picture, image_index, self._layout)
            self._drawn_s[image_index] = time.monotonic()

    def recover(self) -> None:
        """Leave the terminal as text expects it, after an interruption."""
        if self._drawn_s:
            # A terminal drops what it has not read when Ctrl-C is typed: that may have
            # cut a picture short. So end any escape sequence, and go to where the live
            # display has the cursor, the last of its lines; no harm where nothing was cut.
            down = f"\x1b[{self._image_count - 1}B" if self._image_count > 1 else ""
            self._console.file.write(f"\x1b\\\x1b[0m\x1b8{down}")
            self._console.file.flush()

    def _make_place(self, picture: Picture) -> _Layout:
        layout = layout_for(picture, self._image_count, self._console.size, self._terminal.cell_px)
        if layout.places:
            self._console.print("\n" * (layout.rows - 1))
        else:
            self._console.print("the terminal is too small to show pictures in it")
        return layout

    def _draw(self, picture: Picture, image_index: int, layout: _Layout) -> None:
        right = image_index * (layout.columns + _GAP_COLUMNS)
        move = f"\x1b[{layout.rows}A" + (f"\x1b[{right}C" if right else "")
        art = self._art(picture, layout, self._image_ids[image_index])
        with _interrupts_held():
            # Save and restore the cursor (DECSC, DECRC) around it; and save it again for
            # `recover`, since some emulators forget a position once it is restored.
            self._console.print(_Escape(f"\x1b7{move}{art}\x1b8\x1b7"), crop=False)

    def _art(self, picture: Picture, layout: _Layout, image_id: int) -> str:
        columns, rows = layout.columns, layout.rows
        match self._terminal.protocol:
            case Protocol.KITTY:
                return protocols.kitty(_limited(picture), columns, rows, image_id)
            case Protocol.ITERM2:
                return protocols.iterm2(_limited(picture), columns, rows)
            case Protocol.SIXEL:
                width, height = self._terminal.cell_px
                return sixels(picture.scaled(columns * width, rows * height))
            case Protocol.BLOCKS:
                system = _COLOUR_SYSTEMS.get(
                    self._console.color_system or "", ColorSystem.EIGHT_BIT
                )
                return protocols.half_blocks(
                    picture, columns, rows, lambda top, bottom: _cell(top, bottom, system)
                )


def layout_for(
    picture: Picture, image_count: int, size: tuple[int, int], cell_px: tuple[int, int]
) -> _Layout:
    """Lay out `image_count` pictures of one shape in a terminal of `size` (columns, rows).

    The progress of each image has a line below, and the line after it is the cursor's.
    """
    # The last column stays free: a terminal may break the line there.
    width, height = size[0] - 1, size[1] - image_count - 1
    places = min(image_count, (width + _GAP_COLUMNS) // (_MIN_COLUMNS + _GAP_COLUMNS))
    if places < 1 or height < _MIN_ROWS:
        return _Layout(0, 0, 0)
    max_columns = min(MAX_COLUMNS, (width + _GAP_COLUMNS) // places - _GAP_COLUMNS)
    max_rows = min(MAX_ROWS, height)
    cell_width, cell_height = cell_px
    scale = min(
        max_columns * cell_width / picture.width_px, max_rows * cell_height / picture.height_px
    )
    return _Layout(
        columns=max(1, min(max_columns, round(picture.width_px * scale / cell_width))),
        rows=max(1, min(max_rows, round(picture.height_px * scale / cell_height))),
        places=places,
    )


def _limited(picture: Picture) -> Picture:
    """Shrink a picture that has more pixels than its few cells show."""
    longer = max(picture.width_px, picture.height_px)
    if longer <= 2 * GRAPHICS_SIZE_PX:
        return picture
    scale = 2 * GRAPHICS_SIZE_PX / longer
    return picture.scaled(
        max(1, round(picture.width_px * scale)), max(1, round(picture.height_px * scale))
    )


_COLOUR_SYSTEMS = {
    "truecolor": ColorSystem.TRUECOLOR,
    "256": ColorSystem.EIGHT_BIT,
    "standard": ColorSystem.STANDARD,
}


@lru_cache(maxsize=4096)
def _cell(top: bytes, bottom: bytes, system: ColorSystem) -> str:
    style = Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom))
    return style.render("▀", color_system=system)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait, since half a picture would be written, and written again by rich."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)


class _Escape:
    """Text that rich passes on as it is, and that takes no place."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        yield Segment(self._text, None, [])
