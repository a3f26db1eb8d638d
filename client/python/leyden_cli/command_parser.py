"""A parser that answers wrong usage in one line, with what was probably meant."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

_NEGATIVE_NUMBER = re.compile(r"-\.?\d")
_Namespace = TypeVar("_Namespace")


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` for `leyden` and for each of its commands.

    Unknown commands and options are named before anything else that is wrong, and options
    are not abbreviated: what a later version adds could change what an abbreviation means.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_known_args(  # type: ignore[override]  # argparse has four overloads of it
        self,
        args: Sequence[str] | None = None,
        namespace: _Namespace | None = None,
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does; exit with code 2 at an unknown command or option."""
        words = sys.argv[1:] if args is None else list(args)
        if "-" in self.prefix_chars:
            self._check(words)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _check(self, words: Sequence[str]) -> None:
        commands = self._commands()
        for word in words:
            if word == "--":
                return
            if not word.startswith("-") or word == "-" or _NEGATIVE_NUMBER.match(word):
                if commands:
                    # What follows is for the command's own parser to judge.
                    self._check_command(word, commands)
                    return
            elif " " not in word:  # argparse takes a word with a space for a value
                self._check_option(word)

    def _check_command(self, word: str, commands: Iterable[str]) -> None:
        if word not in commands:
            self.error(
                f"there is no command {word!r}"
                + (_nearest(word, commands) or f"; there are {', '.join(sorted(commands))}")
            )

    def _check_option(self, word: str) -> None:
        options = self._option_string_actions
        name = word.partition("=")[0]
        # `-oFILE` is `-o FILE`.
        if name not in options and (name.startswith("--") or name[:2] not in options):
            self.error(f"there is no option {name}{_nearest(name, options)}")

    def _commands(self) -> list[str]:
        return [
            name
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name in action.choices
        ]


def _nearest(word: str, known: Iterable[str]) -> str:
    names = [name for name in known if len(name) > 2]
    longer = [name for name in names if len(word) > 2 and name.startswith(word)]
    near = longer or get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
