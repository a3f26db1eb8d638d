"""Pictures in the terminal by the graphics of kitty, iTerm2 and sixel terminals."""

import io
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.patience import PATIENCE_S
from support.scripted_server import (
    Hold,
    ScriptedServer,
    image,
    numbered,
    summary,
    text_encoded,
)
from support.terminal_session import (
    COLUMNS,
    ROWS,
    SIXEL_TERMINAL,
    assert_clean,
    encoded,
    picture,
    preview,
    script,
    terminal,
)

from leyden_cli.terminal.detect import Protocol, Terminal
from leyden_cli.terminal.gallery import Gallery


def test_kitty_has_each_picture_in_the_place_of_the_last(
    server: ScriptedServer, tmp_path: Path
) -> None:
    final = picture(2, 128, 128)
    server.script = script(picture(1), final)
    with terminal(server, tmp_path, environ={"KITTY_WINDOW_ID": "1"}) as shown:
        assert shown.wait() == 0
    assert {drawn.protocol for drawn in shown.drawn} == {"kitty"}
    assert np.array_equal(shown.drawn[0].pixels, picture(1))
    assert np.array_equal(shown.drawn[-1].pixels, final)
    assert {(drawn.column, drawn.row) for drawn in shown.drawn} == {(0, 0)}
    assert {(d.control["c"], d.control["r"]) for d in shown.drawn} == {(str(COLUMNS), str(ROWS))}
    assert {int(drawn.control["i"]) for drawn in shown.drawn} == set(shown.deleted)
    assert len(set(shown.deleted)) == 1
    assert shown.queries == []
    assert shown.lines()[:ROWS] == [""] * ROWS
    assert shown.lines()[ROWS].startswith("image 0")
    assert_clean(shown)
    assert server.requests[0].preview.size_px == 256


def test_iterm2_has_a_png_of_the_picture(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, environ={"LC_TERMINAL": "iTerm2"}) as shown:
        assert shown.wait() == 0
    assert np.array_equal(shown.drawn[-1].pixels, picture(2))
    control = shown.drawn[-1].control
    assert (control["width"], control["height"], control["inline"]) == (
        str(COLUMNS),
        str(ROWS),
        "1",
    )
    assert {(drawn.column, drawn.row) for drawn in shown.drawn} == {(0, 0)}
    assert_clean(shown)


def test_a_terminal_that_says_sixel_has_sixels_of_its_cells_size(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, answers=SIXEL_TERMINAL) as shown:
        assert shown.wait() == 0
    drawn = shown.drawn[-1]
    assert drawn.protocol == "sixel"
    assert drawn.pixels.shape == (20 * ROWS, 10 * COLUMNS, 3)
    expected = picture(2).repeat(10, axis=0).repeat(10, axis=1)
    assert np.abs(drawn.pixels.astype(int) - expected).max() <= 52
    assert abs(drawn.pixels.mean() - expected.mean()) < 2
    assert (drawn.column, drawn.row) == (0, 0)
    assert_clean(shown)


def test_an_image_larger_than_its_place_is_sent_smaller(
    server: ScriptedServer, tmp_path: Path
) -> None:
    final = picture(2, 1024, 768)
    server.script = numbered(image(encoded(final)), summary())
    with terminal(server, tmp_path, "--terminal-previews", "kitty") as shown:
        assert shown.wait() == 0
    (drawn,) = shown.drawn
    assert drawn.pixels.shape == (384, 512, 3)
    assert (drawn.control["c"], drawn.control["r"]) == ("36", "14")


@pytest.mark.parametrize("count", [1, 3])
def test_ctrl_c_with_graphics_leaves_a_clean_terminal(
    server: ScriptedServer, tmp_path: Path, count: int
) -> None:
    server.script = [*numbered(text_encoded(), preview(1, picture(1, 256, 256))), Hold()]
    options = ["--count", str(count)]
    with terminal(server, tmp_path, *options, environ={"KITTY_WINDOW_ID": "1"}) as shown:
        shown.until(lambda: shown.drawn)
        shown.type(b"\x03")
        assert shown.wait() == 130
        assert server.cancelled.wait(PATIENCE_S)
    assert [line.split()[0] for line in shown.lines()[ROWS:] if line.startswith("image")] == [
        "image"
    ] * count
    assert shown.lines()[-1].endswith("interrupted")
    assert_clean(shown)


class InterruptedFile(io.StringIO):
    """A terminal at which Ctrl-C is typed in the midst of a picture."""

    def write(self, text: str) -> int:
        if "\x1b_G" not in text:
            return super().write(text)
        half = len(text) // 2
        super().write(text[:half])
        signal.raise_signal(signal.SIGINT)
        return super().write(text[half:])


def test_an_interrupted_picture_is_whole_before_the_interrupt_comes() -> None:
    file = InterruptedFile()
    console = Console(file=file, force_terminal=True, width=100, height=30)
    gallery = Gallery(console, Terminal(Protocol.KITTY, (8, 16)), image_count=2)
    with pytest.raises(KeyboardInterrupt):
        gallery.show(0, encoded(picture(1)), last=True)
    assert file.getvalue().endswith("\x1b8\x1b7")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
