"""Every file that starts Ray is in the one process that does."""

import re
from pathlib import Path

from support import spread

ROOT = Path(__file__).resolve().parents[2]
STARTS_RAY = re.compile(r"\bray_server\b|\bLeydenServer\(|\bray\.init\(|\bcli\.conftest import")


def test_what_starts_ray_is_listed() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/*/test_*.py")]
    starting = [file for file in files if STARTS_RAY.search((ROOT / file).read_text("utf-8"))]
    assert len(starting) > 5
    lists = (*spread.RAY, *spread.WITHOUT_RAY)
    assert [file for file in starting if not file.startswith(lists)] == []
    listed = {each for each in lists if not any(file.startswith(each) for file in files)}
    assert not listed, "names no file"
