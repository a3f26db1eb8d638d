"""A contact sheet: pictures in a grid, each over its caption, for looking at."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from leyden_training.data.items import describe
from leyden_training.data.render import render

_LINES, _LINE_PX, _LETTER_PX = 3, 12, 6.2


def contact_sheet(
    pictures: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str], *, columns: int = 5
) -> Image.Image:
    """Return a sheet of `pictures`, uint8 (H, W, 3) of any sizes, with `captions` below them.

    Raises:
        ValueError: if there are no pictures, not as many captions, or no columns.

    """
    if not pictures:
        raise ValueError("pictures: there are none")
    if len(captions) != len(pictures):
        raise ValueError(f"captions: {len(captions)} for {len(pictures)} pictures")
    if columns < 1:
        raise ValueError(f"columns: {columns} is below 1")
    wide = max(picture.shape[1] for picture in pictures) + 8
    tall = max(picture.shape[0] for picture in pictures) + _LINES * _LINE_PX + 8
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (wide * columns, tall * rows), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (picture, text) in enumerate(zip(pictures, captions, strict=True)):
        x, y = place % columns * wide + 4, place // columns * tall + 4
        sheet.paste(Image.fromarray(picture), (x, y))
        lines = textwrap.wrap(text, int((wide - 8) / _LETTER_PX), max_lines=_LINES)
        for number, line in enumerate(lines):
            draw.text((x, y + picture.shape[0] + 1 + number * _LINE_PX), line, fill="black")
    return sheet


def dataset_sheet(seed: int, *, count: int = 20, first: int = 0, columns: int = 5) -> Image.Image:
    """Return a sheet of the pictures `first` to `first + count` of the dataset `seed`."""
    items = [describe(seed, index) for index in range(first, first + count)]
    pictures = [
        render(item.scene, width_px=item.width_px, height_px=item.height_px, seed=item.render_seed)
        for item in items
    ]
    return contact_sheet(pictures, [item.captions[0].text for item in items], columns=columns)
