"""Frozen pydantic models for files that people write: config and `model.yaml`."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from leyden_server.errors import StartupError

__all__ = ["StrictModel"]

LONGEST_KEY_CHARS = 32

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML has libyaml, which its wheels have."""


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    shows_values: ClassVar[bool] = True
    """Whether errors quote what stands in the file; not where that may be a secret."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys that were called otherwise once: the old name, and the one of now."""

    @classmethod
    def from_yaml(cls, path: Path, error: type[StartupError]) -> Self:
        """Read `path`; raise `error`, with the file and every wrong key, if it is wrong."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as exception:
            raise error(f"{path}: cannot be read: {exception.strerror}") from exception
        except UnicodeDecodeError as exception:
            raise error(f"{path}: is not UTF-8: {exception}") from exception
        try:
            data = yaml.load(text, LOADER)
        # PyYAML's own constructors let theirs through where a word looks like a date or a number.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError) as exception:
            why = str(exception) if cls.shows_values else _where(exception)
            raise error(f"{path}: is not YAML: {why}") from (
                exception if cls.shows_values else None
            )
        return cls.from_mapping({} if data is None else data, str(path), error)

    @classmethod
    def from_mapping(cls, data: object, source: str, error: type[StartupError]) -> Self:
        """Check `data`; raise `error`, with `source` and every wrong key, if it is wrong."""
        try:
            return cls.model_validate(data)
        except ValidationError as exception:
            lines = [f"{source}: {_describe(cls, dict(e))}" for e in exception.errors()]
            raise error("\n".join(lines)) from (exception if cls.shows_values else None)


def _where(exception: Exception) -> str:
    mark = getattr(exception, "problem_mark", None)
    return "it cannot be parsed" if mark is None else f"see line {mark.line + 1}"


def _describe(model: type[StrictModel], problem: dict[str, Any]) -> str:
    location: tuple[str | int, ...] = problem["loc"]
    shown = [str(part) for part in location]
    if not model.shows_values:
        # A secret may have been pasted where a key belongs.
        shown = [part if len(part) <= LONGEST_KEY_CHARS else "..." for part in shown]
    name = ".".join(shown) or "the file"
    if problem["type"] != "extra_forbidden":
        text = str(problem["msg"]).removeprefix("Value error, ")
        # Of a rule between keys the whole section would be shown.
        shows = model.shows_values and not isinstance(problem["input"], dict)
        return f"{name}: {text} (got {problem['input']!r})" if shows else f"{name}: {text}"
    holder = _model_at(model, location[:-1])
    new_name = getattr(holder, "renamed", {}).get(str(location[-1]))
    if new_name is not None:
        return f"{name}: is called {new_name!r} now"
    near = get_close_matches(str(location[-1]), list(holder.model_fields), n=1, cutoff=0)
    return f"{name}: unknown key; the nearest known one is {near[0]!r}"


def _model_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    for part in location:
        field = model.model_fields.get(str(part))
        candidates = [] if field is None else [field.annotation, *_arguments(field.annotation)]
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return model


def _arguments(annotation: object) -> list[object]:
    return list(getattr(annotation, "__args__", ()))
