"""Frozen pydantic models for files that people write: config and `model.yaml`."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from leyden_server.errors import StartupError

__all__ = ["StrictModel"]


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

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
            data = yaml.safe_load(text)
        except yaml.YAMLError as exception:
            raise error(f"{path}: is not YAML: {exception}") from exception
        return cls.from_mapping({} if data is None else data, str(path), error)

    @classmethod
    def from_mapping(cls, data: object, source: str, error: type[StartupError]) -> Self:
        """Check `data`; raise `error`, with `source` and every wrong key, if it is wrong."""
        try:
            return cls.model_validate(data)
        except ValidationError as exception:
            lines = [f"{source}: {_describe(cls, dict(e))}" for e in exception.errors()]
            raise error("\n".join(lines)) from exception


def _describe(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location: tuple[str | int, ...] = problem["loc"]
    name = ".".join(str(part) for part in location) or "the file"
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']} (got {problem['input']!r})"
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
