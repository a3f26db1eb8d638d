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


def test_there_are_four_recipes() -> None:
    whole = {name: entry_of(recipe) for name, recipe in RECIPES}

    assert [bool(entry.lora) for entry in whole.values()] == [True, False, False, True]
    assert [bool(entry.single_file) for entry in whole.values()] == [False, True, False, False]
    assert [bool(entry.unet) for entry in whole.values()] == [False, False, True, False]


def test_an_all_in_one_file_needs_no_weights_of_its_base() -> None:
    item = RepositoryItem("own", Path("own"), entry_of(RECIPES[1][1]))

    assert item.needed_of_base.weights_of == ()


def test_the_sources_are_as_the_code_takes_them() -> None:
    section = PAGE.partition("## Where files come from")[2]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines: list[str] = [line for block in blocks for line in block.splitlines()]

    assert len(lines) == 4
    for line in (*lines, *re.findall(r"`((?:lora|embeddings): [{[].+?)`", section)):
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


SERVED_OR_NOT = re.findall(r"^\| ([^|]+) \| (yes|with a word|no) \| ", PAGE, re.MULTILINE)
ROWS: dict[str, tuple[str, ...]] = {
    "diffusers folder in float32, float16 or bfloat16": (
        "test_model_files::a float16 folder",
        "test_model_files::a bfloat16 folder",
    ),
    "weights in shards": (
        "test_checkpoint_layouts::test_weights_in_shards_give_the_pixels_of_whole_ones",
    ),
    "files of a variant for some parts": ("test_model_files::variants of some parts",),
    "all-in-one file": (
        "test_checkpoint_layouts::test_an_all_in_one_file_gives_the_pixels_of_its_folder",
    ),
    "EMA weights, position_ids and the like beside weights": (
        "test_model_files::an all-in-one file with leftovers",
    ),
    "float8 weights without scales": ("test_model_files::plain float8",),
    "float8 with scale_weight": ("test_model_files::float8 with scale_weight",),
    "float8 with weight_scale": (
        "test_model_files::float8 with weight_scale",
        "test_model_files::float8 with a scale a row",
    ),
    "UNet file by diffusers' names": ("test_model_files::a UNet by diffusers' names",),
    "UNet file by the original names, with or without a prefix": (
        "test_model_files::a UNet by the original names",
        "test_model_files::a UNet by the original names with the prefix",
    ),
    "VAE file": (
        "test_model_files::a VAE by diffusers' names",
        "test_model_files::a VAE by the original names",
    ),
    "checkpoint marked v_pred, ztsnr": ("test_model_files::marked as v-prediction with zero SNR",),
    "v-prediction without a mark": ("test_model_files::v-prediction with zero SNR by model.yaml",),
    "LoRA by kohya's names, an alpha a module": ("test_lora_images::an alpha for every module",),
    "LoRA by diffusers' or PEFT's names, alpha in the header": (
        "test_lora::test_the_headers_alpha_counts",
    ),
    "several LoRAs": ("test_lora::test_two_are_added_each_with_its_own_scale",),
    "LoRA with layers for text encoders": (
        "test_lora::test_layers_of_text_encoders_are_applied_or_left_out",
    ),
    "LoCon, with Tucker": ("test_lora_images::LoCon with Tucker",),
    "LoHa, LoKr": ("test_lora_images::LoHa", "test_lora_images::LoKr"),
    "DoRA, magnitudes of outputs or inputs": (
        "test_lora_images::DoRA of outputs",
        "test_lora_images::DoRA of inputs",
    ),
    "full differences, of norms and biases too": ("test_lora_images::full differences and norms",),
    "textual inversion of both encoders": ("test_learned_tokens::test_pixels_are_diffusers",),
    "file that is cut short or damaged": (
        "test_safetensors_files::cut in its data",
        "test_safetensors_files::overlapping offsets",
    ),
    "number that is NaN or infinite": (
        "test_tensors_of_files::test_a_number_that_is_none_is_named",
    ),
    "tensor that lacks, has another shape or no use": (
        "test_tensors_of_files::test_every_tensor_is_needed",
        "test_tensors_of_files::test_no_tensor_is_passed_over",
    ),
    "Git LFS pointer, pickle, GGUF, web page": (
        "test_safetensors_files::a Git LFS pointer",
        "test_safetensors_files::a pickle of today",
        "test_safetensors_files::GGUF",
        "test_safetensors_files::a web page",
    ),
    "link out of the model repository": (
        "test_tensors_of_files::test_a_link_out_of_the_repository_is_refused",
    ),
    "SDXL's refiner": (
        "test_recognition::the refiner",
        "test_recognition::test_the_refiners_folder_is_refused_by_what_it_is",
    ),
    "inpainting (9 channels), editing (8 channels)": (
        "test_recognition::inpainting",
        "test_recognition::an inpainting UNet",
        "test_recognition::editing",
    ),
    "Stable Diffusion 1, 2, 3, FLUX and others": (
        "test_recognition::Stable Diffusion 1",
        "test_recognition::Stable Diffusion 3",
        "test_recognition::FLUX",
    ),
    "EDM (Playground v2.5)": ("test_recognition::EDM",),
    "quantised folder (bitsandbytes, torchao)": ("test_recognition::a quantised UNet",),
    "tiny autoencoder (TAESD)": ("test_recognition::a tiny autoencoder",),
    "ControlNet, IP-Adapter": (
        "test_recognition::a ControlNet",
        "test_recognition::an IP-Adapter",
    ),
    "OFT, BOFT, IA3, GLoRA": ("test_recognition::an OFT",),
    "scheduler that none of the solvers samples as": ("test_recognition::another class",),
}
"""The tests of each row: a test's own name, or the name of what a table of tests has it for."""


def test_each_row_of_what_is_served_is_a_test() -> None:
    assert [row for row, _ in SERVED_OR_NOT] == list(ROWS)
    for tests in ROWS.values():
        for test in tests:
            file, _, name = test.partition("::")
            text = (Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8")
            assert f'"{name}": ' in text or f"def {name}(" in text, test
