"""The pages hold together: what they link to is there, and what makes their pictures runs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "",
    "docs",
    "benchmarks",
    "benchmarks/peers",
    "training",
    "protos/google/rpc",
    "client",
    "tests/clients",
)
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the names that a page's headings are linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_architecture_names_files_that_there_are() -> None:
    server = ROOT / "server" / "leyden_server"
    names = {file.name for file in server.rglob("*.py")}
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)`", page)

    assert len(named) > 20
    for name in named:
        assert (server / name).is_file() or (ROOT / name).is_file() or name in names, name


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_a_recording_shows_the_command_and_what_it_wrote(tmp_path: Path) -> None:
    gif = tmp_path / "recording.gif"
    say = "print('\\x1b[48;2;255;0;0m' + ' ' * 40 + '\\x1b[0m', end='', flush=True); exit(3)"

    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "recording.py", gif, "--", sys.executable, "-c", say],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 3, result.stderr
    with Image.open(gif) as recording:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(recording)]
    assert len(frames) > 10  # the typing
    reds = [int((frame == (255, 0, 0)).all(axis=2).sum()) for frame in frames]
    assert reds[0] == 0
    assert reds[-1] == 40 * 8 * 16  # so many cells, of so many pixels
