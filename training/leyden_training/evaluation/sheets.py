"""Contact sheets: a row for each set of pictures, a column for each prompt and noise."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from leyden_training.evaluation.pictures import Pixels

__all__ = ["comparison_sheet"]

LABEL_PX, CAPTION_LINES, LINE_PX, LETTER_PX, GAP_PX = 110, 5, 12, 6.2, 4


def comparison_sheet(
    rows: Mapping[str, Pixels], captions: Sequence[str], picture_px: int = 160
) -> Image.Image:
    """Lay out the same prompts from several sets.

    Args:
        rows: (N, H, W, 3) pictures by the label of their row, picture i of prompt i.
        captions: of the columns; as many pictures of each row are shown.
        picture_px: side of a picture on the sheet; larger ones are reduced to it.

    """
    side = min(picture_px, next(iter(rows.values())).shape[1])
    pitch, top = side + GAP_PX, CAPTION_LINES * LINE_PX + GAP_PX
    sheet = Image.new("RGB", (LABEL_PX + pitch * len(captions), top + pitch * len(rows)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        lines = textwrap.wrap(caption, int(side / LETTER_PX), max_lines=CAPTION_LINES)
        draw.multiline_text(
            (LABEL_PX + column * pitch, 0), "\n".join(lines), fill="black", spacing=1
        )
    for row, (label, pictures) in enumerate(rows.items()):
        y = top + row * pitch
        words = textwrap.wrap(label, int(LABEL_PX / LETTER_PX) - 1)
        draw.multiline_text((2, y + 2), "\n".join(words), fill="black", spacing=1)
        for column in range(len(captions)):
            picture = Image.fromarray(np.ascontiguousarray(pictures[column]))
            if picture.width > side:
                picture = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (LABEL_PX + column * pitch, y))
    return sheet
