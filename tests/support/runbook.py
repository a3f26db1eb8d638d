"""The commands of docs/runbook.md, each with what runs it."""

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Block", "blocks", "calls_of", "to_run", "words_of"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"

HEADING_OR_FENCED = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
RUN_BY = re.compile(r"# run by: (\S.*)")
NOT_RUN = re.compile(r"# not run here: (\S.*)")


@dataclass(frozen=True)
class Block:
    """A fenced block of commands."""

    section: str
    """The heading that it stands below."""
    first: str
    """Its first line, which says what runs it, or why nothing does."""
    text: str
    """The lines after it."""

    @property
    def run_by(self) -> str:
        """Return what runs it; "" where nothing does."""
        found = RUN_BY.fullmatch(self.first)
        return found[1] if found else ""

    @property
    def why_not_run(self) -> str:
        """Return why it is not run; "" where it is."""
        found = NOT_RUN.fullmatch(self.first)
        return found[1] if found else ""

    @property
    def commands(self) -> list[str]:
        """Return its commands, each on a line of its own, without comments."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        lines = (line.strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page's text that are not of another language than bash."""
    found = []
    section = ""
    for part in HEADING_OR_FENCED.finditer(page):
        if part["heading"]:
            section = part["heading"]
        elif part["language"] in {"", "bash"}:
            first, _, rest = textwrap.dedent(part["body"]).partition("\n")
            found.append(Block(section, first, rest))
    return found


def to_run(*runners: str) -> list[Block]:
    """Return the blocks of the runbook that one of the runners is to run, in order.

    What makes a certificate comes first: the page looks at one before it says how to make one.
    """
    found = [b for b in blocks(PAGE.read_text(encoding="utf-8")) if b.run_by in runners]
    return sorted(found, key=lambda block: "openssl req" not in block.text)


def calls_of(program: str) -> list[list[str]]:
    """Return the arguments of each call of a program in the runbook, wherever in a command."""
    calls = []
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        for command in block.commands:
            for words in words_of(command):
                inner = words[words.index(program) :] if program in words else []
                # `{}` of xargs is the name of an object.
                calls += [[w.replace("{}", "raycluster/one") for w in inner[1:]]] if inner else []
    return calls


def words_of(command: str) -> list[list[str]]:
    """Return the words of each command of a line, where `|`, `&&` and `;` part them."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]
