"""A generation in a fake terminal, and the pictures that it shows."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support.fake_terminal import FakeTerminal
from support.scripted_server import (
    ScriptedServer,
    image,
    numbered,
    progress,
    summary,
    text_encoded,
)

import leyden_client
from leyden.v1 import image_generation_service_pb2 as pb

__all__ = [
    "COLUMNS",
    "COMMAND",
    "ROWS",
    "SIXEL_TERMINAL",
    "assert_clean",
    "encoded",
    "picture",
    "preview",
    "script",
    "terminal",
]

PACKAGE_ROOT = str(Path(leyden_client.__file__).parents[1])
COMMAND = [sys.executable, "-m", "leyden_cli", "generate", "a prompt"]
SIXEL_TERMINAL = {b"\x1b[c": b"\x1b[?62;4;22c", b"\x1b[16t": b"\x1b[6;20;10t"}
PLAIN_TERMINAL = {b"\x1b[c": b"\x1b[?1;2c"}
# A square picture of 16 rows: 32 cells wide where a cell is twice as high as wide.
ROWS, COLUMNS = 16, 32

Pixels = NDArray[np.uint8]


def picture(seed: int, width: int = 32, height: int = 32) -> Pixels:
    """Four quadrants of different colours, with a gradient over them."""
    rng = np.random.default_rng(seed)
    quadrants = rng.integers(0, 200, (2, 2, 3)).repeat(height // 2, 0).repeat(width // 2, 1)
    y, x = np.mgrid[0:height, 0:width]
    pixels: Pixels = (quadrants + ((x + y) % 50)[..., None]).astype(np.uint8)
    return pixels


def encoded(pixels: Pixels, image_format: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, image_format)
    return data.getvalue()


def preview(step: int, pixels: Pixels, image_index: int = 0) -> pb.GenerateImageResponse:
    return progress(step, image_index=image_index, preview=encoded(pixels))


def script(first: Pixels, final: Pixels) -> list[pb.GenerateImageResponse]:
    """Two steps with one preview each, and the image."""
    return numbered(
        text_encoded(), preview(1, first), preview(2, first), image(encoded(final)), summary()
    )


@contextmanager
def terminal(
    server: ScriptedServer,
    folder: Path,
    *options: str,
    answers: dict[bytes, bytes] | None = None,
    columns: int = 100,
    rows: int = 30,
    output: str = "out.png",
    environ: dict[str, str] | None = None,
) -> Iterator[FakeTerminal]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
    }
    with FakeTerminal(
        [*COMMAND, "-o", str(folder / output), *options],
        {
            **inherited,
            "PYTHONPATH": PACKAGE_ROOT,
            "LEYDEN_SERVER": server.target,
            "LANG": "C.UTF-8",
            "PYTHONUTF8": "1",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            **(environ or {}),
        },
        columns=columns,
        rows=rows,
        answers=PLAIN_TERMINAL if answers is None else answers,
    ) as started:
        yield started


def assert_clean(shown: FakeTerminal) -> None:
    """The shell that comes next finds its terminal as it left it."""
    assert not shown.screen.cursor.hidden
    assert shown.screen.cursor.x == 0
    assert shown.modes_after == shown.modes_before
    assert not any("\x1b" in line or "1337" in line for line in shown.lines())
