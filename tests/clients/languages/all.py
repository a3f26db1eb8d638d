"""All languages: those that have a module in this package."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from clients.languages.language import Language

__all__ = ["UnknownLanguageError", "languages"]

NO_LANGUAGE = {"all", "language"}
FIRST = "python"


class UnknownLanguageError(Exception):
    """There is no such language; the text says which there are."""


def languages(names: Sequence[str] = ()) -> list[Language]:
    """Return the languages of these names, or all of them; Python, the reference, comes first.

    Raises:
        UnknownLanguageError: one of the names is none.

    """
    modules = {path.stem for path in Path(__file__).parent.glob("*.py")} - NO_LANGUAGE
    known = sorted(modules, key=lambda name: (name != FIRST, name))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownLanguageError(
            f"there is no language {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return [
        import_module(f"clients.languages.{name}").LANGUAGE
        for name in known
        if not names or name in names
    ]
