"""Reads a Dockerfile as far as rules of the house need it."""

import json
import re
from dataclasses import dataclass, field

__all__ = ["Dockerfile", "Instruction", "Stage"]


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines put together and comments left out."""

    word: str
    """In capitals: RUN, COPY, …"""
    rest: str

    def exec_form(self) -> list[str]:
        """Return the items of the exec form; ValueError for the shell form."""
        return [str(item) for item in json.loads(self.rest)]

    def sources(self) -> list[str]:
        """Return what a COPY takes from the context; nothing for one from another stage."""
        words = self.rest.split()
        if self.word != "COPY" or any(word.startswith("--from=") for word in words):
            return []
        return [word for word in words if not word.startswith("--")][:-1]


@dataclass
class Stage:
    """A stage: what it begins from, its name, and its instructions."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        """Return the instructions of one kind, in order."""
        return [i for i in self.instructions if i.word == word]


@dataclass
class Dockerfile:
    """The arguments before the first stage, by name, and the stages in order."""

    arguments: dict[str, str] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> "Dockerfile":
        """Read a file's text."""
        file = cls()
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        for line in filter(None, (line.strip() for line in joined.splitlines())):
            word, _, rest = line.partition(" ")
            file._take(Instruction(word.upper(), rest.strip()))
        return file

    def _take(self, instruction: Instruction) -> None:
        if instruction.word == "FROM":
            base, _, name = instruction.rest.partition(" AS ")
            self.stages.append(Stage(base, name))
        elif self.stages:
            self.stages[-1].instructions.append(instruction)
        else:
            name, _, default = instruction.rest.partition("=")
            self.arguments[name] = default
