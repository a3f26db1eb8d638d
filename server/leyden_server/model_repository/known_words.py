"""Which words of a prompt a model knows, where it was trained on few of them."""

import re

__all__ = ["knows_any", "words_in"]

_WORD = re.compile(r"[^\W_]+")


def words_in(text: str) -> list[str]:
    """Return the words of a text in lower case, in order: runs of letters and digits.

    So "Snow-capped peaks, 4K" gives snow, capped, peaks, 4k.
    """
    return _WORD.findall(text.casefold())


def knows_any(prompt: str, known_words: frozenset[str]) -> bool:
    """Return whether a model that knows `known_words` knows a word of `prompt`.

    A model without `known_words` is not limited to a list, so it knows every prompt.
    """
    return not known_words or not known_words.isdisjoint(words_in(prompt))
