"""`leyden models check` tells what a file is from its header, and how it can be served."""

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch as st
import torch
from support.checkpoint_files import write_random_lora, write_single_file
from support.model_folders import entry, resolve
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM

from leyden_cli.main import main
from leyden_server.checkpoint.model_plan import IN_CHECKPOINT, layout_of
from leyden_server.checkpoint.sdxl_shape import SDXL_SHAPE


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check") / "base"
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, seed=2)


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["models", "check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, object]]:
    code, out, _ = checked(capsys, *arguments, "--json")
    return code, json.loads(out)


def write_header_of_sdxl(file: Path) -> int:
    """Write an all-in-one file of SDXL's full size without its numbers; return how many it has.

    The file system keeps no block for what was never written.
    """
    header: dict[str, object] = {}
    place = 0
    for part, shape in SDXL_SHAPE.items():
        scheme = IN_CHECKPOINT[part][0]
        for parameter in layout_of(part, shape).values():
            sides = parameter.original_shape if scheme.original else parameter.shape
            if scheme.name(parameter) in header:
                continue
            end = place + 2 * math.prod(sides)
            header[scheme.name(parameter)] = {
                "dtype": "F16",
                "shape": sides,
                "data_offsets": [place, end],
            }
            place = end
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + place)
    return place // 2


def test_a_file_of_the_full_size_is_told_in_seconds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "sd_xl_base_1.0.safetensors"
    numbers = write_header_of_sdxl(file)
    started_s = time.process_time()
    code, out, _ = checked(capsys, file)

    assert time.process_time() - started_s < 5
    assert code == 0
    assert "an all-in-one SDXL checkpoint" in out
    assert "F16" in out
    for said in ("unet 2.57 B", "text_encoder 123 M", "text_encoder_2 695 M", "vae 83.7 M"):
        assert said in out
    assert numbers > 3_400_000_000
    yaml = out.partition("model.yaml:")[2]
    assert "base: {repo: stabilityai/stable-diffusion-xl-base-1.0}" in yaml
    assert "single_file: sd_xl_base_1.0.safetensors" in yaml


def test_the_model_yaml_that_it_prints_serves_the_file(
    capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path
) -> None:
    write_single_file(tmp_path / "all.safetensors", base)
    write_random_lora(tmp_path / "lora.safetensors", model_dir=base, seed=1)
    shutil.copy(base / "unet" / "diffusion_pytorch_model.safetensors", tmp_path / "u.safetensors")
    shutil.copy(base / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "v.safetensors")
    vectors = {"clip_l": torch.ones(2, 32), "clip_g": torch.ones(2, 48)}
    st.save_file(vectors, tmp_path / "style.safetensors")
    for name in ("all", "lora", "u", "v", "style"):
        code, found = report(capsys, tmp_path / f"{name}.safetensors", "--base", base)
        assert (code, found["servable"], found["problems"]) == (0, True, [])
        resolve(entry(tmp_path, str(found["model_yaml"])))


def test_a_folder_is_told_too(capsys: pytest.CaptureFixture[str], base: Path) -> None:
    code, found = report(capsys, base)
    assert code == 0
    assert found["what"] == "a diffusers SDXL folder"
    assert found["prediction_type"] == "epsilon"
    assert found["precision"] == {"F32": found["known"]}


def test_marks_words_and_notes_are_told(
    capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path
) -> None:
    whole = st.load_file(write_single_file(tmp_path / "all.safetensors", base))
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    st.save_file({**whole, **marks}, tmp_path / "v.safetensors")
    _, found = report(capsys, tmp_path / "v.safetensors")
    assert (found["prediction_type"], found["rescale_betas_zero_snr"]) == ("v_prediction", True)

    plain = write_random_lora(tmp_path / "plain.safetensors", model_dir=base, seed=1)
    metadata = {
        "modelspec.trigger_phrase": "my style",
        "ss_tag_frequency": json.dumps({"10_cats": {"cat": 12, "tabby": 3}}),
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "ss_training_comment": "a test \x1b[31mof ours",
    }
    st.save_file(st.load_file(plain), tmp_path / "told.safetensors", metadata)
    code, out, _ = checked(capsys, tmp_path / "told.safetensors", "--base", base)
    assert code == 0
    assert "my style, cat, tabby" in out
    assert "stable-diffusion-xl-v1-base/lora" in out
    assert "\x1b" not in out


def test_what_cannot_be_served_ends_with_1(
    capsys: pytest.CaptureFixture[str], base: Path, tmp_path: Path
) -> None:
    whole = st.load_file(write_single_file(tmp_path / "all.safetensors", base))
    gone = next(name for name in whole if "middle_block.1" in name)
    file = tmp_path / "spoiled.safetensors"
    st.save_file(
        {name: value for name, value in whole.items() if name != gone} | {"odd": torch.ones(1)},
        file,
    )
    code, found = report(capsys, file)
    assert (code, found["servable"]) == (1, False)
    assert (found["missing"], found["unknown"]) == ([gone], ["odd"])
    code, out, _ = checked(capsys, file)
    assert code == 1
    assert "refused" in out
    assert gone in out

    file.write_bytes(file.read_bytes()[:-1])
    code, out, _ = checked(capsys, file)
    assert (code, "was cut short" in out) == (1, True)
    code, out, err = checked(capsys, tmp_path / "nowhere.safetensors")
    assert (code, out) == (1, "")
    assert "there is no such file or folder" in err


def test_neither_torch_nor_ray_is_imported(base: Path) -> None:
    script = (
        "import sys; from leyden_cli.main import main; "
        f"main(['models', 'check', {str(base)!r}]); "
        "sys.exit(bool({'torch', 'ray', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
