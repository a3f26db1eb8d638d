"""The rule for configs: each field is used, or known to mean nothing here, or refused by name."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from leyden_server.errors import ModelRepositoryError

__all__ = ["BOOKKEEPING", "REQUIRED", "Field", "Fields", "one_of", "read_json", "used"]


BOOKKEEPING = (
    "_class_name",
    "_commit_hash",
    "_diffusers_version",
    "_name_or_path",
    "_use_default_values",
)
"""What diffusers notes in every config: who wrote it, and when."""

REQUIRED: Any = object()
"""The default of a field that must be there."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a field may be. Its default is what the library takes where the field is absent."""

    allowed: Callable[[Any], bool]
    what: str
    """What is allowed, for the error."""
    default: Any = None


def one_of(*values: Any) -> Field:
    """Allow these values alone, the first of which is the default."""
    return Field(
        lambda value: any(_same(value, one) for one in values),
        f"{' or '.join(map(json.dumps, values))} is served",
        values[0],
    )


def used(
    kind: type | tuple[type, ...],
    default: Any = None,
    *,
    what: str = "",
    least: float | None = None,
) -> Field:
    """Allow what is of a kind, and None where that is the default."""
    kinds = kind if isinstance(kind, tuple) else (kind,)

    def allowed(value: Any) -> bool:
        if value is None:
            return default is None
        if isinstance(value, bool) and bool not in kinds:
            return False
        if not isinstance(value, kinds):
            return False
        return least is None or not isinstance(value, int | float) or value >= least

    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    words = [names[one] for one in kinds if one in names and not (one is int and float in kinds)]
    text = what or " or ".join(words) + ("" if least is None else f" from {least:g}")
    return Field(allowed, text, default)


@dataclass(frozen=True, slots=True)
class Fields:
    """All fields that a kind of config may have."""

    of: str
    """What the config is of."""
    known: Mapping[str, Field]
    meaningless: Collection[str] = ()
    """Fields that say nothing about what is computed here, whatever they hold."""

    def check(self, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """Return the config, complete with defaults and without what means nothing.

        Raises:
            ModelRepositoryError: a field is unknown, or holds what is not served; all are named.

        """
        wrong = [
            text
            for name, value in config.items()
            if name not in self.meaningless and (text := self._wrong(name, value))
        ]
        wrong += [
            f"has no {name!r}"
            for name, field in self.known.items()
            if field.default is REQUIRED and name not in config
        ]
        if wrong:
            raise ModelRepositoryError(f"{path}: " + "; ".join(wrong))
        return {name: config.get(name, field.default) for name, field in self.known.items()}

    def _wrong(self, name: str, value: Any) -> str:
        field = self.known.get(name)
        if field is not None:
            if field.allowed(value):
                return ""
            return f"{name}: {field.what}; got {json.dumps(value)[:80]}"
        near = get_close_matches(name, [*self.known], n=1)
        hint = f"; the nearest known one is {near[0]!r}" if near else ""
        return f"{name}: Leyden does not know this field of {self.of}{hint}"


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, bool) != isinstance(other, bool):
        return False
    return bool(value == other)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelRepositoryError: the file is missing or is none.

    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exception:
        raise ModelRepositoryError(f"{path}: {exception.strerror}") from exception
    except ValueError as exception:
        raise ModelRepositoryError(f"{path}: is not JSON: {exception}") from exception
    if not isinstance(data, dict):
        raise ModelRepositoryError(f"{path}: is not a JSON object")
    return data
