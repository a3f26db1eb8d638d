"""Writes the table of `model.yaml`'s keys in docs/models.md, or checks that it is up to date.

python tests/checks/model_keys.py write
python tests/checks/model_keys.py check
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from leyden_server.model_repository.entry import ModelEntry
from leyden_server.model_repository.sources import (
    EmbeddingSource,
    FileSource,
    FolderSource,
    LoraSource,
)
from leyden_server.strict_model import StrictModel

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "models.md"
BEGIN = "<!-- The table is written by tests/checks/model_keys.py. -->\n\n"
END = "<!-- End of the table. -->"
SOURCES = {
    FolderSource: "folder source",
    FileSource: "file source",
    LoraSource: "LoRA source",
    EmbeddingSource: "embedding source",
}
NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}


def keys_of(model: type[StrictModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields every key and its field, those of sections behind the section's own name."""
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from keys_of(section, f"{prefix}{name}.")


def table() -> str:
    """Returns the table in Markdown: a row for each key, with the texts of its docstring."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in keys_of(ModelEntry):
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{key}` | {type_of(field)} | {_default_of(field)} | {meaning} |")
    return "\n".join(rows) + "\n\n"


def type_of(field: FieldInfo) -> str:
    """Returns in words what a key takes, with its bounds."""
    bounds = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=least):
                bounds.append(f"{least} or more")
            case Gt(gt=below):
                bounds.append(f"above {below}")
            case Le(le=most):
                bounds.append(f"at most {most}")
    return ", ".join((_type_in_words(field.annotation), *bounds))


def document(table_now: str, text: str) -> str:
    """Returns the text of the page with its table replaced.

    Raises:
        ValueError: the page lacks a mark of where its table begins or ends.

    """
    before, begins, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not begins or not ends:
        raise ValueError(f"docs/models.md lacks {BEGIN.strip()} or {END} after it")
    return f"{before}{BEGIN}{table_now}{END}{after}"


def main() -> int:
    """Runs the command line; 1 where the table is stale."""
    parser = argparse.ArgumentParser(description="The table of model.yaml's keys.")
    parser.add_argument("action", choices=["write", "check"])
    action = parser.parse_args().action
    text = DOCUMENT.read_text(encoding="utf-8")
    fresh = document(table(), text)
    if action == "write":
        DOCUMENT.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        cure = "Cure: python tests/checks/model_keys.py write"
        print(f"The table of docs/models.md does not match entry.py. {cure}", file=sys.stderr)
        return 1
    return 0


def _section(field: FieldInfo) -> type[StrictModel] | None:
    """Returns the model behind a key that has keys of its own, sources aside."""
    for part in (field.annotation, *get_args(field.annotation)):
        if isinstance(part, type) and issubclass(part, StrictModel) and part not in SOURCES:
            return part
    return None


def _type_in_words(annotation: Any) -> str:
    if annotation in SOURCES:
        return f"[{SOURCES[annotation]}](#where-files-come-from)"
    if annotation in NAMES:
        return NAMES[annotation]
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if get_origin(annotation) in {Union, UnionType}:
        return " or ".join(_type_in_words(part) for part in parts if part is not type(None))
    if get_origin(annotation) is Mapping:
        return f"map of {_type_in_words(parts[0])} to {_type_in_words(parts[1])}"
    if get_origin(annotation) is tuple and parts[-1] is Ellipsis:
        return f"list of {_type_in_words(parts[0])}"
    if get_origin(annotation) is tuple and len(set(parts)) == 1:
        return f"[{', '.join(_type_in_words(part) for part in parts)}]"
    raise TypeError(f"no words for {annotation}: add them here")


def _default_of(field: FieldInfo) -> str:
    match field.get_default(call_default_factory=True, validated_data={}):
        case _ if field.is_required():
            return "required"
        case None | "" | ():
            return "not set"
        case dict(value) if not value:
            return "not set"
        case FolderSource(path="."):
            return "the folder itself"
        case value:
            return f"`{value}`"


if __name__ == "__main__":
    sys.exit(main())
