"""What the page counts tokens by is what the model's own tokenizers have."""

import json
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest

from leyden_server.gateway.web.tokenizer import tokenizer_of
from leyden_server.model_repository import ModelRepository, ResolvedModel


@pytest.fixture(scope="module")
def tiny() -> ResolvedModel:
    return ModelRepository().resolve("leyden-tiny-base")


def test_two_tokenizers_that_cut_alike_are_said_once(tiny: ResolvedModel) -> None:
    file = tiny.base_folder / "tokenizer" / "tokenizer.json"
    pairs = json.loads(file.read_text(encoding="utf-8"))["model"]["merges"]
    found = tokenizer_of(tiny)
    assert found["learned_tokens"] == {}
    (merges,) = found["merges"]
    assert len(merges) == len(pairs) > 1000
    assert merges[0].split(" ") == list(
        pairs[0] if not isinstance(pairs[0], str) else pairs[0].split(" ")
    )


def test_merges_are_read_from_either_kind_of_file(tiny: ResolvedModel, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer_2").mkdir()
    copyfile(
        tiny.base_folder / "tokenizer" / "tokenizer.json", tmp_path / "tokenizer" / "tokenizer.json"
    )
    (merges,) = tokenizer_of(tiny)["merges"]
    text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    (tmp_path / "tokenizer_2" / "merges.txt").write_text(text, encoding="utf-8")
    assert tokenizer_of(replace(tiny, base_folder=tmp_path))["merges"] == [merges]


def test_tokenizers_that_differ_are_both_said(tiny: ResolvedModel, tmp_path: Path) -> None:
    for name, lines in (("tokenizer", "a b\n"), ("tokenizer_2", "b a</w>\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "merges.txt").write_text(f"#version: 0.2\n{lines}", encoding="utf-8")
    found = tokenizer_of(replace(tiny, base_folder=tmp_path))
    assert found["merges"] == [["a b"], ["b a</w>"]]
