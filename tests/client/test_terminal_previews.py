"""Pictures in the terminal: when they are drawn, and as half blocks."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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
    COMMAND,
    ROWS,
    assert_clean,
    encoded,
    picture,
    preview,
    script,
    terminal,
)

from leyden.v1 import image_generation_service_pb2 as pb

# ---- half blocks ------------------------------------------------------------------


def test_half_blocks_show_the_image_above_its_progress(
    server: ScriptedServer, tmp_path: Path
) -> None:
    final = picture(2, 64, 64)
    server.script = script(picture(1), final)
    with terminal(server, tmp_path) as shown:
        assert shown.wait() == 0
    # Each pixel of the screen is the mean of a few of the four that it stands for.
    pixels = shown.block_pixels(0, 0, ROWS, COLUMNS)
    expected = np.asarray(Image.fromarray(final).resize((32, 32), Image.Resampling.BOX))
    assert np.abs(pixels.astype(int) - expected).mean() < 3
    lines = shown.lines()
    assert "written to" in " ".join(lines[ROWS : ROWS + 2])
    assert sum("image 0" in line for line in lines) == 1
    assert lines[-1].startswith("tiny took")
    assert_clean(shown)
    (request,) = server.requests
    assert request.preview == pb.PreviewOptions(size_px=36, format=pb.OUTPUT_FORMAT_PNG)
    assert (tmp_path / "out.png").read_bytes() == encoded(final)


def test_a_preview_is_there_while_the_rest_is_made_and_ctrl_c_leaves_it(
    server: ScriptedServer, tmp_path: Path
) -> None:
    first = picture(1)
    server.script = [*numbered(text_encoded(), preview(1, first)), Hold()]
    with terminal(server, tmp_path) as shown:
        shown.until(lambda: "step 1 of 2" in "\n".join(shown.lines()))
        assert np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), first)
        assert shown.screen.cursor.hidden
        shown.type(b"\x03")
        assert shown.wait() == 130
        assert server.cancelled.wait(PATIENCE_S)
    assert np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), first)
    assert shown.lines()[-1].endswith("interrupted")
    assert list(tmp_path.iterdir()) == []
    assert_clean(shown)


def test_the_next_preview_takes_the_place_of_the_last(
    server: ScriptedServer, tmp_path: Path
) -> None:
    second = picture(3)
    server.script = [
        *numbered(text_encoded(), preview(1, picture(1)), preview(2, second)),
        Hold(),
    ]
    with terminal(server, tmp_path) as shown:
        shown.until(lambda: "decoding" in "\n".join(shown.lines()))
        shown.until(lambda: np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), second))
        shown.type(b"\x03")
        assert shown.wait() == 130


def test_at_the_foot_of_the_screen_pictures_scroll_with_the_text(
    server: ScriptedServer, tmp_path: Path
) -> None:
    final = picture(2)
    server.script = script(picture(1), final)
    with terminal(server, tmp_path, rows=22, output="a-file-with-quite-a-long-name.png") as shown:
        assert shown.wait() == 0
    top = next(i for i, line in enumerate(shown.lines()) if line.startswith("▀"))
    assert np.array_equal(shown.block_pixels(top, 0, ROWS, COLUMNS), final)
    assert sum(line.startswith("▀") for line in shown.lines()) == ROWS
    assert_clean(shown)


def test_images_of_one_request_stand_side_by_side(server: ScriptedServer, tmp_path: Path) -> None:
    pictures = [picture(i) for i in range(3)]
    server.script = numbered(
        text_encoded(),
        *(preview(2, p, i) for i, p in enumerate(pictures)),
        *(image(encoded(p), i) for i, p in enumerate(pictures)),
        summary(3),
    )
    with terminal(server, tmp_path, "--count", "3", columns=110) as shown:
        assert shown.wait() == 0
    for index, expected in enumerate(pictures):
        place = index * (COLUMNS + 2)
        assert np.array_equal(shown.block_pixels(0, place, ROWS, COLUMNS), expected)
    assert [line.split()[1] for line in shown.lines() if line.startswith("image ")] == list("012")
    assert_clean(shown)


def test_images_that_have_no_room_are_not_drawn(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = numbered(
        *(preview(2, picture(i), i) for i in range(8)),
        *(image(encoded(picture(i)), i) for i in range(8)),
        summary(8),
    )
    with terminal(server, tmp_path, "--count", "8", columns=40, rows=60) as shown:
        assert shown.wait() == 0
    # Four of 8 columns, as high as square pictures of that width are.
    for index in range(4):
        shown.block_pixels(0, index * 10, 4, 8)
    assert sum("written to" in line for line in shown.lines()) >= 1
    assert_clean(shown)


def test_a_terminal_too_small_for_pictures_says_so(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, rows=5) as shown:
        assert shown.wait() == 0
    assert "too small to show pictures" in shown.printed()
    assert "▀" not in shown.printed()


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_of_a_jpeg_or_webp_the_last_preview_stays(
    server: ScriptedServer, tmp_path: Path, image_format: str
) -> None:
    wire = pb.OutputFormat.Value(f"OUTPUT_FORMAT_{image_format}")
    event = image(encoded(picture(2), image_format))
    event.image.format = wire
    server.script = numbered(preview(2, picture(1)), event, summary())
    with terminal(server, tmp_path, output=f"out.{image_format.lower()}") as shown:
        assert shown.wait() == 0
    assert np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), picture(1))


def test_with_256_colours_the_nearest_ones_are_taken(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, environ={"COLORTERM": ""}) as shown:
        assert shown.wait() == 0
    pixels = shown.block_pixels(0, 0, ROWS, COLUMNS)
    assert np.abs(pixels.astype(int) - picture(2)).mean() < 40
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) < len(
        np.unique(picture(2).reshape(-1, 3), axis=0)
    )


# ---- which ------------------------------------------------------------------------


def test_a_terminal_that_does_not_answer_costs_half_a_second(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = script(picture(1), picture(2))
    started = time.monotonic()
    with terminal(server, tmp_path, answers={}) as shown:
        assert shown.wait() == 0
    assert time.monotonic() - started >= 0.5
    assert np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), picture(2))
    assert_clean(shown)


@pytest.mark.parametrize(
    "environ",
    [
        {"TMUX": "/tmp/tmux", "KITTY_WINDOW_ID": "1"},
        {"STY": "screen", "LC_TERMINAL": "iTerm2"},
        {"TERM_PROGRAM": "Apple_Terminal"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_what_the_outer_terminal_left_is_not_believed(
    server: ScriptedServer, tmp_path: Path, environ: dict[str, str]
) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, environ=environ) as shown:
        assert shown.wait() == 0
    assert shown.queries == [b"\x1b[16t", b"\x1b[c"]
    assert shown.drawn == []
    assert np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), picture(2))


@pytest.mark.parametrize(
    ("term", "options", "environ"),
    [
        ("xterm-256color", ["--terminal-previews", "off"], {}),
        ("xterm-256color", [], {"NO_COLOR": "1"}),
        ("xterm", [], {"COLORTERM": ""}),
        ("dumb", [], {}),
    ],
)
def test_nothing_is_drawn_or_asked_for(
    server: ScriptedServer,
    tmp_path: Path,
    term: str,
    options: list[str],
    environ: dict[str, str],
) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, *options, environ={"TERM": term, **environ}) as shown:
        assert shown.wait() == 0
    assert shown.drawn == []
    assert "▀" not in "".join(shown.lines())
    assert not server.requests[0].HasField("preview")


def test_nothing_is_drawn_or_asked_for_where_stdout_is_no_terminal(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = script(picture(1), picture(2))
    run = subprocess.run(
        [*COMMAND, "-o", "out.png"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "LEYDEN_SERVER": server.target, "KITTY_WINDOW_ID": "1"},
    )
    assert b"\x1b" not in run.stdout + run.stderr
    assert not server.requests[0].HasField("preview")


def test_a_protocol_that_was_asked_for_needs_a_terminal(
    server: ScriptedServer, tmp_path: Path
) -> None:
    run = subprocess.run(
        [*COMMAND, "-o", "out.png", "--terminal-previews", "kitty"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "LEYDEN_SERVER": server.target},
    )
    assert run.returncode == 2
    assert "--terminal-previews kitty needs stdout and stderr to be a terminal" in run.stderr
    assert server.requests == []


def test_previews_in_files_and_in_the_terminal_are_the_same(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script = script(picture(1), picture(2))
    with terminal(server, tmp_path, "--previews", str(tmp_path / "steps")) as shown:
        assert shown.wait() == 0
    assert server.requests[0].preview == pb.PreviewOptions(format=pb.OUTPUT_FORMAT_PNG)
    assert (tmp_path / "steps" / "image-0-step-1.png").read_bytes() == encoded(picture(1))


def test_a_model_without_previews_warns_only_who_asked_for_them(
    server: ScriptedServer, tmp_path: Path
) -> None:
    warning = pb.Warning(reason="PREVIEW_UNSUPPORTED", field="preview", message="there are none")
    server.script = numbered(image(encoded(picture(2))), summary(warnings=[warning]))
    for options in ([], ["--terminal-previews", "blocks"]):
        with terminal(server, tmp_path, *options) as shown:
            assert shown.wait() == 0
        assert ("there are none" in "\n".join(shown.lines())) == bool(options)
        assert np.array_equal(shown.block_pixels(0, 0, ROWS, COLUMNS), picture(2))
