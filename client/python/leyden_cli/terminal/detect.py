"""Which protocol a terminal has for pictures.

The environment names kitty, Ghostty, iTerm2, WezTerm and mintty; every other terminal is asked
for its device attributes, of which 4 is sixel graphics. Half blocks need only colours.

Sources: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html (DA1, XTWINOPS 16), and what
the terminals' own documents say of TERM and TERM_PROGRAM.
"""

import enum
import os
import re
import select
import struct
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_ANSWER_TIMEOUT_S = 0.5
"""Long enough for a terminal at the other end of a slow ssh; none at all is the exception."""
_DEFAULT_CELL_PX = (8, 16)
"""Smaller than most cells are: a picture is then smaller than its place, and not larger."""

MAX_COLUMNS = 36
"""Cells that a picture takes at most in a row: enough to see, and not the whole terminal."""
MAX_ROWS = 16
"""Rows of cells that a picture takes at most."""
GRAPHICS_SIZE_PX = 256
"""Longer side of a preview, in pixels, where the terminal draws pixels."""

_SIXEL_ATTRIBUTE = 4
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_CELL_SIZE = re.compile(rb"\x1b\[6;(\d+);(\d+)t")


class Protocol(enum.StrEnum):
    """How pictures are drawn in a terminal."""

    KITTY = "kitty"
    """kitty's graphics protocol."""
    ITERM2 = "iterm2"
    """iTerm2's inline images."""
    SIXEL = "sixel"
    """Sixel graphics."""
    BLOCKS = "blocks"
    """Half blocks: two coloured pixels in each cell of text."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal that draws pictures."""

    protocol: Protocol
    """How it draws them."""
    cell_px: tuple[int, int]
    """Width and height of a cell in pixels; a guess where the terminal does not say."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a terminal said of itself."""

    attributes: frozenset[int] = frozenset()
    """Its primary device attributes."""
    cell_px: tuple[int, int] | None = None
    """Width and height of a cell in pixels."""


def preview_size_px(terminal: Terminal) -> int:
    """Return the longer side of previews that suits a terminal, in pixels."""
    if terminal.protocol is Protocol.BLOCKS:
        return max(MAX_COLUMNS, 2 * MAX_ROWS)  # a half block is a pixel
    return GRAPHICS_SIZE_PX


def detect(
    environ: Mapping[str, str], *, colours: bool, ask: Callable[[], Answers]
) -> Terminal | None:
    """Return what the terminal can do, the best first; None: no pictures.

    `colours` says whether it has at least 256 and writes Unicode. `ask` is called
    where the environment does not tell.
    """
    if environ.get("TERM", "") in {"", "dumb"}:
        return None
    protocol = _named(environ)
    if protocol is not None:
        return Terminal(protocol, _DEFAULT_CELL_PX)
    answers = ask()
    if _SIXEL_ATTRIBUTE in answers.attributes:
        return Terminal(Protocol.SIXEL, answers.cell_px or _DEFAULT_CELL_PX)
    return Terminal(Protocol.BLOCKS, _DEFAULT_CELL_PX) if colours else None


def forced(protocol: Protocol, ask: Callable[[], Answers]) -> Terminal:
    """Return the terminal that the user says it is."""
    # Sixels are pixels of the screen; with the others the terminal fits them to cells.
    cell_px = ask().cell_px if protocol is Protocol.SIXEL else None
    return Terminal(protocol, cell_px or _DEFAULT_CELL_PX)


def _named(environ: Mapping[str, str]) -> Protocol | None:
    if environ.get("TMUX") or environ.get("STY"):
        # What the outer terminal left in the environment does not pass through tmux
        # or screen; they answer for themselves.
        return None
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if environ.get("KITTY_WINDOW_ID") or term in {"xterm-kitty", "xterm-ghostty"}:
        return Protocol.KITTY
    if program == "ghostty":
        return Protocol.KITTY
    # LC_TERMINAL is what ssh passes on.
    if program in {"iTerm.app", "WezTerm", "mintty"} or environ.get("LC_TERMINAL") == "iTerm2":
        return Protocol.ITERM2
    return None


def ask_terminal(timeout_s: float = _ANSWER_TIMEOUT_S) -> Answers:
    """Ask the controlling terminal for its attributes and the size of its cells.

    What it does not answer within `timeout_s` seconds is not known.
    """
    if sys.platform == "win32":
        return Answers()
    import termios
    import tty

    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return Answers()
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():
            return Answers()  # in the background it would be stopped for touching the modes
        before = termios.tcgetattr(terminal)
        try:
            # Without echo, or the answer would be on the screen.
            tty.setcbreak(terminal, termios.TCSADRAIN)
            # Attributes last: every terminal answers to them, so that their answer
            # says that no other will come.
            os.write(terminal, b"\x1b[16t\x1b[c")
            said = _read_answer(terminal, timeout_s)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        return _parsed(said, _cell_of_window(terminal))
    except (OSError, termios.error):
        return Answers()
    finally:
        os.close(terminal)


def _read_answer(terminal: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    said = b""
    while not _ATTRIBUTES.search(said):
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        said += os.read(terminal, 1024)
    return said


def _parsed(said: bytes, cell_px: tuple[int, int] | None) -> Answers:
    attributes = _ATTRIBUTES.search(said)
    cell_size = _CELL_SIZE.search(said)
    if cell_size:
        height, width = (int(number) for number in cell_size.groups())
        cell_px = (width, height) if width and height else cell_px
    numbers = attributes[1].split(b";") if attributes else []
    return Answers(frozenset(int(number) for number in numbers if number), cell_px)


def _cell_of_window(terminal: int) -> tuple[int, int] | None:
    """Return width and height of a cell in pixels, from the size that the kernel has."""
    if sys.platform == "win32":
        return None
    import fcntl
    import termios

    rows, columns, width, height = struct.unpack(
        "4H", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8))
    )
    if not (rows and columns and width >= columns and height >= rows):
        return None
    return width // columns, height // rows
