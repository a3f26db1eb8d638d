"""Text of unknown origin, made fit for a terminal."""

import unicodedata


def printable(text: str) -> str:
    r"""Write control characters as \x1b and the like: a file may hold anything."""
    return "".join(
        char
        if char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cs"}
        else repr(char)[1:-1]
        for char in text
    )
