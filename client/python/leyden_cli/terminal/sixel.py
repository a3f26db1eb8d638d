"""Sixel graphics: pixels as text, six rows at a time, each colour of them in turn.

Sources: VT330/VT340 Programmer Reference Manual, volume 2, chapter 14 (Digital, 1988); the
threshold matrix of ordered dithering, Bayer (1973).
"""

import re

from leyden_cli.terminal.picture import Picture

_LEVELS = (6, 7, 6)
"""Levels of red, green and blue: 252 colours of the 256 that terminals have."""
_WEIGHTS = (_LEVELS[1] * _LEVELS[2], _LEVELS[2], 1)
_BAYER = ((0, 8, 2, 10), (12, 4, 14, 6), (3, 11, 1, 9), (15, 7, 13, 5))


def sixels(picture: Picture) -> str:
    """Return the escape sequence that draws the picture, a pixel for a pixel, at the cursor."""
    bands = (
        _band(picture.width_px, [_colours(picture, y + i) for i in range(rows)])
        for y in range(0, picture.height_px, 6)
        if (rows := min(6, picture.height_px - y))
    )
    # 9;1: a pixel is as high as it is wide. Then the size, and the palette.
    size = f'"1;1;{picture.width_px};{picture.height_px}'
    return f"\x1bP9;1q{size}{_PALETTE}{'-'.join(bands)}\x1b\\"


def _colours(picture: Picture, y: int) -> bytes:
    """Return the palette's number for each pixel of a row, dithered."""
    row = picture.rows[y]
    total = 0
    for channel in range(3):
        values = bytearray(row[channel::3])
        for phase in range(4):
            values[phase::4] = values[phase::4].translate(_QUANTIZE[channel][y % 4][phase])
        # All pixels at once: no sum is over 251, so that no byte carries into the next.
        total += int.from_bytes(values)
    return total.to_bytes(picture.width_px)


def _band(width: int, rows: list[bytes]) -> str:
    lines: dict[int, bytearray] = {}
    for bit, row in enumerate(rows):
        for x, colour in enumerate(row):
            if colour not in lines:
                lines[colour] = bytearray(b"?" * width)
            lines[colour][x] += 1 << bit
    # `$` goes back to the band's start for the next colour.
    return "$".join(f"#{colour}{_run_lengths(line)}" for colour, line in lines.items())


def _run_lengths(line: bytearray) -> str:
    text = line.decode("ascii").rstrip("?")
    return _RUN.sub(lambda run: f"!{len(run[0])}{run[1]}", text)


_RUN = re.compile(r"(.)\1{3,}")


def _quantizer(channel: int, threshold: int) -> bytes:
    """Return a table from a channel's value to its part of the palette's number."""
    steps = _LEVELS[channel] - 1
    # The thresholds lie evenly between two levels: (2 t + 1) / 32 of the way.
    return bytes(
        (32 * value * steps + (2 * threshold + 1) * 255) // (32 * 255) * _WEIGHTS[channel]
        for value in range(256)
    )


_QUANTIZE = [
    [[_quantizer(channel, threshold) for threshold in line] for line in _BAYER]
    for channel in range(3)
]
_PALETTE = "".join(
    # In percent, as VT340 had them; `2` says that they are red, green and blue.
    f"#{number};2;"
    + ";".join(
        str(round(100 * (number // weight % levels) / (levels - 1)))
        for weight, levels in zip(_WEIGHTS, _LEVELS, strict=True)
    )
    for number in range(_LEVELS[0] * _LEVELS[1] * _LEVELS[2])
)
