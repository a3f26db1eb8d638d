"""`leyden-train` in this process."""

import sys
from pathlib import Path

import pytest
from support.tiny_training import SHAPE

from leyden_training import cli


def leyden_train(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object) -> int:
    """Runs a command on a folder with one worker and the tiny shape; returns its exit code."""
    shape = folder / "shape.json"
    SHAPE.write(shape)
    common = ["leyden-train", "--folder", folder, "--workers", 1, "--shape", shape]
    monkeypatch.setattr(sys, "argv", [str(word) for word in (*common, *arguments)])
    return cli.main()
