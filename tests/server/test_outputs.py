"""Image files of a whole server: made again from what they carry, by the command line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from server.conftest import BASE, LIGHTNING
from support.image_parameters import parameters_of
from support.reference import max_difference
from support.running_server import RunningServer

from leyden_cli.main import main
from leyden_client._image_file import read_image_file

PROMPT = "Föhn über den Bergen 山"


def leyden(server: RunningServer, *argv: str | Path) -> None:
    assert main(["generate", *map(str, argv), "--server", server.address]) == 0


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_from_a_file_come_the_same_bytes_again(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    first, again = tmp_path / f"first.{suffix}", tmp_path / f"again.{suffix}"
    options = ["--model", BASE, "--steps", "7", "--guidance", "5.3", "--negative", "fog"]
    options += ["--width", "96", "--height", "128", "--seed", "11"]
    if suffix != "png":
        options += ["--quality", "61"]
    leyden(server, PROMPT, "-o", first, *options)
    leyden(server, "--from", first, "-o", again)
    assert again.read_bytes() == first.read_bytes()
    assert "revision" not in capsys.readouterr().err
    # What the client reads is what Pillow reads.
    assert read_image_file(first).parameters == parameters_of(first.read_bytes())
    leyden(server, "--from", first, "-o", again, "--seed", "12")
    assert not np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(first)))
    changed = {**read_image_file(first).parameters, "seed": 12}
    assert read_image_file(again).parameters == changed


def test_one_image_of_many_comes_again_with_the_seed_that_was_drawn(
    server: RunningServer, tmp_path: Path
) -> None:
    """To the tolerance of batches: it was one of three, and comes again alone."""
    leyden(server, PROMPT, "-o", tmp_path / "a.png", "--count", "3")
    leyden(server, "--from", tmp_path / "a-2.png", "-o", tmp_path / "again.png")
    first, again, other = (
        np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("a-2", "again", "a-1")
    )
    assert max_difference(again, first) <= 1
    assert max_difference(again, other) > 1
    parameters = read_image_file(tmp_path / "again.png").parameters
    assert parameters == read_image_file(tmp_path / "a-2.png").parameters


def test_a_revision_that_the_server_does_not_have_is_a_warning(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, renamed = tmp_path / "first.jpg", tmp_path / "renamed.jpg"
    leyden(server, PROMPT, "-o", first, "--model", LIGHTNING)
    revision = str(read_image_file(first).parameters["model_revision"])
    other = revision[:-4] + ("0000" if revision[-4:] != "0000" else "1111")
    data = first.read_bytes()
    assert data.count(revision.encode("utf-16-be")) == 1
    renamed.write_bytes(data.replace(revision.encode("utf-16-be"), other.encode("utf-16-be")))
    leyden(server, "--from", renamed, "-o", tmp_path / "again.jpg")
    err = capsys.readouterr().err
    assert f"was made by {LIGHTNING} at revision {other}, the server has {revision}" in err


def test_a_png_and_a_jpeg_of_one_recipe_show_one_picture(
    server: RunningServer, tmp_path: Path
) -> None:
    leyden(server, PROMPT, "-o", tmp_path / "a.png", "--seed", "5")
    leyden(server, "--from", tmp_path / "a.png", "-o", tmp_path / "a.jpg", "--quality", "100")
    png, jpeg = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("a.png", "a.jpg"))
    assert np.abs(png - jpeg).mean() < 3
