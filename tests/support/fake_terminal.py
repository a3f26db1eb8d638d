"""A terminal that a test drives: a pty, a screen of cells, and the pictures that were drawn."""

import base64
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyte
from numpy.typing import NDArray
from PIL import Image
from support.sixel_decoder import decode_sixels

__all__ = ["Drawn", "FakeTerminal"]

Pixels = NDArray[np.uint8]

# Makes the pty the controlling terminal, as a shell's child has it, and becomes the command.
_LAUNCH = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_SPECIAL = re.compile(
    rb"\x1b_G(?P<kitty>.*?)\x1b\\|\x1bP(?P<sixel>.*?)\x1b\\|\x1b\]1337;(?P<iterm2>.*?)\x07"
    rb"|(?P<query>\x1b\[16t|\x1b\[c)",
    re.DOTALL,
)
_UNFINISHED = re.compile(rb"\x1b(?:_G|P|\]1337;|\[?\d*$|$)")
_FROM_NAMES = {"black": (0, 0, 0), "white": (255, 255, 255)}


@dataclass
class Drawn:
    """One picture, and where the cursor was when it came."""

    protocol: str
    pixels: Pixels
    column: int
    row: int
    control: dict[str, str] = field(default_factory=dict)


class FakeTerminal:
    """Runs a command on a pty and reads what it draws; a context manager."""

    def __init__(
        self,
        command: list[str],
        environ: Mapping[str, str],
        *,
        columns: int = 100,
        rows: int = 30,
        answers: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Start `command`; a query among `answers` is answered, others are not."""
        self.screen = pyte.HistoryScreen(columns, rows)
        self.drawn: list[Drawn] = []
        self.deleted: list[int] = []
        self.queries: list[bytes] = []
        self._stream = pyte.ByteStream(self.screen)
        self._answers = dict(answers or {})
        self._rest = b""
        self._kitty = b""
        self._kitty_control: dict[str, str] = {}
        self._changed = threading.Condition()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.modes_before: Any = termios.tcgetattr(theirs)
        self.modes_after: Any = None
        self._theirs = theirs
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(environ),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._finish()
        os.close(self._ours)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait until the command has ended and all it wrote is read; return its exit code."""
        self._process.wait(timeout_s)
        return self._finish()

    def _finish(self) -> int:
        code = self._process.wait()
        if not self._closed:
            self.modes_after = termios.tcgetattr(self._theirs)
            # With nobody left to write, reading ends once all is read.
            os.close(self._theirs)
            self._closed = True
            self._reader.join()
        return code

    def type(self, keys: bytes) -> None:
        """Type on the keyboard; ^C is a signal, as everywhere."""
        os.write(self._ours, keys)

    def until(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until `condition` holds; AssertionError with the screen where it does not."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, "\n".join(self.screen.display)
                self._changed.wait(min(left, 0.05))

    def lines(self) -> list[str]:
        """Return the screen's text, without the empty lines at its end."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    def printed(self) -> str:
        """Return all text that was printed, what has scrolled out of the screen too."""
        gone = [
            "".join(line[column].data for column in range(self.screen.columns)).rstrip()
            for line in self.screen.history.top
        ]
        return "\n".join([*gone, *self.lines()])

    def block_pixels(self, row: int, column: int, rows: int, columns: int) -> Pixels:
        """Return the pixels (2 rows, columns, 3) that half blocks show in a part of the screen."""
        pixels = np.zeros((2 * rows, columns, 3), dtype=np.uint8)
        for y in range(rows):
            for x in range(columns):
                cell = self.screen.buffer[row + y][column + x]
                assert cell.data == "▀", f"{cell.data!r} in row {row + y}, column {column + x}"
                pixels[2 * y, x], pixels[2 * y + 1, x] = _rgb(cell.fg), _rgb(cell.bg)
        return pixels

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # EIO: the other side is closed
                return
            if not data:
                return
            with self._changed:
                self._take(self._rest + data)
                self._changed.notify_all()

    def _take(self, data: bytes) -> None:
        position = 0
        for special in _SPECIAL.finditer(data):
            self._stream.feed(data[position : special.start()])
            position = special.end()
            kind = str(special.lastgroup)
            if kind == "query":
                self.queries.append(special[0])
                os.write(self._ours, self._answers.get(special[0], b""))
            else:
                getattr(self, f"_take_{kind}")(special[kind])
        rest = data[position:]
        unfinished = _UNFINISHED.search(rest)
        cut = unfinished.start() if unfinished else len(rest)
        self._stream.feed(rest[:cut])
        self._rest = rest[cut:]

    def _take_kitty(self, data: bytes) -> None:
        control_text, _, payload = data.partition(b";")
        control = dict(pair.split("=", 1) for pair in control_text.decode().split(","))
        if control.get("a") == "d":
            self.deleted.append(int(control["i"]))
            return
        assert len(payload) <= 4096
        if "a" in control:
            self._kitty_control, self._kitty = control, b""
        self._kitty += payload
        if control["m"] == "0":
            shape = (int(self._kitty_control["v"]), int(self._kitty_control["s"]), 3)
            pixels = zlib.decompress(base64.b64decode(self._kitty, validate=True))
            self._draw("kitty", np.frombuffer(pixels, np.uint8).reshape(shape), self._kitty_control)

    def _take_iterm2(self, data: bytes) -> None:
        head, _, payload = data.partition(b":")
        assert head.startswith(b"File=")
        control = dict(pair.split("=", 1) for pair in head[5:].decode().split(";"))
        file = base64.b64decode(payload, validate=True)
        assert int(control["size"]) == len(file)
        self._draw("iterm2", np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), control)

    def _take_sixel(self, data: bytes) -> None:
        self._draw("sixel", decode_sixels(data.decode("ascii")), {})

    def _draw(self, protocol: str, pixels: Pixels, control: dict[str, str]) -> None:
        cursor = self.screen.cursor
        self.drawn.append(Drawn(protocol, pixels, cursor.x, cursor.y, control))


def _rgb(colour: str) -> tuple[int, int, int]:
    if colour in _FROM_NAMES:
        return _FROM_NAMES[colour]
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue
