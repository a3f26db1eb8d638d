"""`leyden config`: the settings as documented YAML, from the one place that defines them."""

import json
import textwrap
from collections.abc import Iterator

from pydantic import BaseModel

from leyden_server.config import ServerConfig

__all__ = ["config_text"]

WIDTH = 88


def config_text() -> str:
    """Return YAML with every key, its default, and its meaning as a comment."""
    return (
        "\n".join(["# Leyden's settings and their defaults.", *_lines(ServerConfig(), "")]) + "\n"
    )


def _lines(section: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        meaning = " ".join((field.description or "").split())
        yield ""
        yield from textwrap.wrap(
            meaning, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
        )
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            # JSON values are YAML too, each on one line.
            yield f"{indent}{name}: {json.dumps(section.model_dump(mode='json')[name])}"
