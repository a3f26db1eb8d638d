"""Sixel graphics back to pixels, by the VT340's manual; raises where the text is no sixels."""

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_sixels"]

_TOKEN = re.compile(
    r'"(?P<raster>[\d;]+)|#(?P<colour>\d+)(?P<define>;2;\d+;\d+;\d+)?|!(?P<run>\d+)(?P<of>[?-~])'
    r"|(?P<one>[?-~])|(?P<back>\$)|(?P<next>-)"
)


def decode_sixels(text: str) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of what stands between DCS and ST."""
    parameters, _, body = text.partition("q")
    assert re.fullmatch(r"[\d;]*", parameters)
    palette: dict[int, tuple[int, ...]] = {}
    pixels = np.zeros((0, 0, 3), dtype=np.uint8)
    drawn = np.zeros((0, 0), dtype=bool)
    x = y = colour = position = 0
    while position < len(body):
        token = _TOKEN.match(body, position)
        assert token is not None, f"no sixels: {body[position : position + 20]!r}"
        position = token.end()
        if token["raster"]:
            _, _, width, height = map(int, token["raster"].split(";"))
            pixels = np.zeros((height, width, 3), dtype=np.uint8)
            drawn = np.zeros((height, width), dtype=bool)
        elif token["define"]:
            percents = token["define"].split(";")[2:]
            palette[int(token["colour"])] = tuple(round(int(p) * 255 / 100) for p in percents)
        elif token["colour"]:
            colour = int(token["colour"])
        elif token["back"]:
            x = 0
        elif token["next"]:
            x, y = 0, y + 6
        else:
            count = int(token["run"] or 1)
            bits = ord(token["of"] or token["one"]) - ord("?")
            for bit in range(6):
                if bits >> bit & 1:
                    pixels[y + bit, x : x + count] = palette[colour]
                    drawn[y + bit, x : x + count] = True
            x += count
    assert drawn.all(), f"{(~drawn).sum()} pixels were not drawn"
    return pixels
