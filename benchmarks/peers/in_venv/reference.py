"""Writes diffusers' own pictures: `reference.py FOLDER OUT`, [[prompt, seed]] on stdin."""

import json
import os
import sys
from pathlib import Path

from pipeline import Generator


def main() -> None:
    """Make one picture at a time, each named for its seed."""
    folder, out = sys.argv[1:]
    generator = Generator(folder, os.cpu_count() or 1)
    for prompt, seed in json.load(sys.stdin):
        generator.images([prompt], [seed])[0].save(Path(out) / f"{seed}.png")


if __name__ == "__main__":
    main()
