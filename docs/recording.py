"""Records a command in a terminal as a GIF, in the time that it took.

    leyden serve --model leyden-tiny-base
    python docs/recording.py docs/images/generate.gif -- leyden generate \
        "A beautiful sunset over mountains, cinematic lighting" --seed 1 -o out.png

The command runs on a pty of its own; pyte keeps the screen, and Pillow draws it. Nothing is left
out or slowed down; the prompt line before it is typed by this script.
"""

import argparse
import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pyte
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 94, 21
CELL = (8, 16)
"""Width and height of a cell in pixels."""
MARGIN = 10
"""Pixels around the screen."""
BACKGROUND, FOREGROUND = "#16181d", "#d8dce4"
NAMED = {
    **{"black": "#16181d", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b"},
    **{"blue": "#61afef", "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d8dce4"},
}
FRAME_S = 0.08
"""Changes that follow each other more closely share a frame."""
LAST_S = 4.0
"""For how long the end is shown before the recording begins again."""
ATTRIBUTES_QUERY, NO_GRAPHICS = b"\x1b[c", b"\x1b[?1;2c"
"""What a program asks of its terminal, and the answer of one that draws text alone."""


@dataclass
class Frame:
    """The screen as it was for a while."""

    image: Image.Image
    duration_s: float


class Recorder:
    """Keeps the screen, and a frame of each of its states."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.frames: list[Frame] = []
        self._stream = pyte.ByteStream(self.screen)
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self._font = ImageFont.truetype(fonts / "DejaVuSansMono.ttf", 13)

    def feed(self, output: bytes) -> None:
        """Take what a program wrote."""
        self._stream.feed(output)

    def take(self, duration_s: float) -> None:
        """Add a frame of the screen as it is now."""
        image = self._draw()
        if self.frames and self.frames[-1].image.tobytes() == image.tobytes():
            self.frames[-1].duration_s += duration_s
        else:
            self.frames.append(Frame(image, duration_s))

    def write(self, path: Path) -> None:
        """Write a GIF that repeats itself."""
        first, *others = (
            frame.image.quantize(128, dither=Image.Dither.NONE) for frame in self.frames
        )
        durations_ms = [max(20, round(frame.duration_s * 1000)) for frame in self.frames]
        first.save(path, save_all=True, append_images=others, duration=durations_ms, loop=0)

    def _draw(self) -> Image.Image:
        width, height = CELL
        size = (COLUMNS * width + 2 * MARGIN, ROWS * height + 2 * MARGIN)
        image = Image.new("RGB", size, BACKGROUND)
        draw = ImageDraw.Draw(image)
        for row in range(ROWS):
            for column in range(COLUMNS):
                cell = self.screen.buffer[row][column]
                x, y = MARGIN + column * width, MARGIN + row * height
                ink, paper = _colour(cell.fg, FOREGROUND), _colour(cell.bg, BACKGROUND)
                if cell.reverse:
                    ink, paper = paper, ink
                if paper != BACKGROUND:
                    draw.rectangle((x, y, x + width - 1, y + height - 1), paper)
                if cell.data in "▀▄":
                    top = y + (height // 2 if cell.data == "▄" else 0)
                    draw.rectangle((x, top, x + width - 1, top + height // 2 - 1), ink)
                elif cell.data.strip():
                    draw.text((x, y), cell.data, ink, self._font)
        return image


def _colour(name: str, default: str) -> str:
    """Return a colour of pyte's as Pillow takes it."""
    if name == "default":
        return default
    return NAMED.get(name.removeprefix("bright"), f"#{name}")


def type_command(recorder: Recorder, command: list[str]) -> None:
    """Show the command being typed."""
    text = " ".join(f'"{word}"' if " " in word else word for word in command)
    recorder.feed(b"$ ")
    recorder.take(0.6)
    for start in range(0, len(text), 3):
        recorder.feed(text[start : start + 3].encode())
        recorder.take(0.05)
    recorder.take(0.5)
    recorder.feed(b"\r\n")


def run(recorder: Recorder, command: list[str]) -> int:
    """Run the command on a pty, a frame for each change; return its exit code."""
    process, terminal = pty.fork()
    if process == 0:
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.execvpe(command[0], command, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    shown_s = time.monotonic()
    while True:
        ready, _, _ = select.select([terminal], [], [], FRAME_S)
        now_s = time.monotonic()
        if now_s - shown_s >= FRAME_S:
            recorder.take(now_s - shown_s)
            shown_s = now_s
        if not ready:
            continue
        try:
            output = os.read(terminal, 65536)
        except OSError:  # what a pty says of its other side's end, on Linux
            output = b""
        if not output:
            break
        if ATTRIBUTES_QUERY in output:
            os.write(terminal, NO_GRAPHICS)
        recorder.feed(output)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> int:
    """Run the command line; the exit code is the recorded command's."""
    parser = argparse.ArgumentParser(description="Records a command in a terminal as a GIF.")
    parser.add_argument("gif", type=Path, help="file to write")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --")
    arguments = parser.parse_args()
    recorder = Recorder()
    type_command(recorder, arguments.command)
    code = run(recorder, arguments.command)
    recorder.feed(b"$ ")
    recorder.take(LAST_S)
    recorder.write(arguments.gif)
    seconds = sum(frame.duration_s for frame in recorder.frames)
    print(f"{arguments.gif}: {len(recorder.frames)} frames, {seconds:.1f} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
