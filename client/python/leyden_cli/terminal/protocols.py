"""Pictures as the escape sequences that draw them into cells, from the cursor on.

Each function returns text to write while the cursor stands in the top left cell; where it leaves
the cursor is not said.

Sources: https://sw.kovidgoyal.net/kitty/graphics-protocol/,
https://iterm2.com/documentation-images.html.
"""

import base64
import zlib
from collections.abc import Callable

from leyden_cli.terminal.picture import Picture

_KITTY_CHUNK = 4096
"""Characters of base64 that one of kitty's escape sequences may hold."""


def kitty(picture: Picture, columns: int, rows: int, image_id: int) -> str:
    """Draw with kitty's graphics protocol, in the place of what had `image_id` before."""
    data = base64.b64encode(zlib.compress(b"".join(picture.rows), 1)).decode()
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    # d=I frees the pixels of the last one; q=2: no answer, which nobody would read;
    # C=1: the cursor stays; f=24, o=z: RGB, deflated.
    control = (
        f"a=T,q=2,C=1,f=24,o=z,s={picture.width_px},v={picture.height_px},"
        f"i={image_id},c={columns},r={rows},"
    )
    sequences = [f"\x1b_Ga=d,d=I,i={image_id},q=2\x1b\\"]
    for number, chunk in enumerate(chunks):
        more = int(number < len(chunks) - 1)
        sequences.append(f"\x1b_G{'' if number else control}m={more};{chunk}\x1b\\")
    return "".join(sequences)


def iterm2(picture: Picture, columns: int, rows: int) -> str:
    """Draw with iTerm2's inline images."""
    png = picture.to_png()
    return (
        f"\x1b]1337;File=inline=1;size={len(png)};width={columns};height={rows};"
        f"preserveAspectRatio=0:{base64.b64encode(png).decode()}\x07"
    )


def half_blocks(
    picture: Picture, columns: int, rows: int, paint: Callable[[bytes, bytes], str]
) -> str:
    """Draw two pixels in each cell; `paint` returns a cell of two colours, three bytes each."""
    picture = picture.scaled(columns, 2 * rows)
    lines = []
    for y in range(0, 2 * rows, 2):
        top, bottom = picture.rows[y], picture.rows[y + 1]
        lines.append(
            "".join(paint(top[x : x + 3], bottom[x : x + 3]) for x in range(0, len(top), 3))
        )
    # Back to the line's first cell, and one down.
    return f"\x1b[{columns}D\x1b[1B".join(lines)
