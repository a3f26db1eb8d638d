"""docs/models.md says what `model.yaml` takes: its table is the code's, and its recipes load."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from checks.model_keys import DOCUMENT, document, keys_of, table

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelEntry, ModelRepository, RepositoryItem

PAGE = DOCUMENT.read_text(encoding="utf-8")
RECIPES = re.findall(r"^### (.+?)\n.*?^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_table_is_up_to_date() -> None:
    assert document(table(), PAGE) == PAGE, "python tests/checks/model_keys.py write"


def test_the_table_has_every_key_of_the_shipped_models() -> None:
    keys = {key.partition(".")[0] for key, _ in keys_of(ModelEntry)}

    for item in ModelRepository().items.values():
        written = yaml.safe_load((item.folder / "model.yaml").read_text(encoding="utf-8"))
        assert set(written) <= keys


def test_every_key_says_what_it_means() -> None:
    assert [key for key, field in keys_of(ModelEntry) if not field.description] == []


def entry_of(recipe: str) -> ModelEntry:
    return ModelEntry.from_mapping(yaml.safe_load(recipe), "the recipe", ModelRepositoryError)


def test_there_are_three_recipes() -> None:
    whole = {name: entry_of(recipe) for name, recipe in RECIPES}

    assert [bool(entry.lora) for entry in whole.values()] == [True, False, False]
    assert [bool(entry.single_file) for entry in whole.values()] == [False, True, False]
    assert [bool(entry.unet) for entry in whole.values()] == [False, False, True]


def test_an_all_in_one_file_needs_no_weights_of_its_base() -> None:
    item = RepositoryItem("own", Path("own"), entry_of(RECIPES[1][1]))

    assert item.needed_of_base.weights_of == ()


def test_the_sources_are_as_the_code_takes_them() -> None:
    section = PAGE.partition("## Where files come from")[2]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines: list[str] = [line for block in blocks for line in block.splitlines()]

    assert len(lines) == 4
    for line in (*lines, *re.findall(r"`(lora: .+?)`", section)):
        entry_of(line)


@pytest.mark.parametrize("name", sorted(ModelRepository().items))
def test_the_shipped_models_are_as_the_page_says(name: str) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and "²" in line]
    family, _, steps = name.rpartition("-")
    named = f"`{name}`" if "step" not in name else f"-{steps}`"
    (row,) = (
        cells
        for line in rows
        if named in (cells := [cell.strip() for cell in line.strip("|").split("|")])[0]
        and (f"`{family}-" in cells[0] or f"`{name}`" in cells[0])
    )
    entry: Any = ModelRepository().items[name].entry

    count = entry.num_inference_steps
    if count.min == count.max:
        assert str(count.default) in row[1].split(", ")
    else:
        assert row[1] == f"{count.min} to {count.max}, default {count.default}"
    scale = entry.guidance_scale
    default = f", default {scale.default:g}" if scale.max else ""
    assert row[2] == (f"{scale.min:g} to {scale.max:g}{default}" if scale.max else "0")
    assert row[4].partition(":")[0] == entry.license
