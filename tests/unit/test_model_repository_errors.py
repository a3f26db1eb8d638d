"""What is wrong with an entry or its folder is said by name."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from support.model_folders import entry, refused, resolve, rewrite_json
from support.random_sdxl import write_random_unet_file

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository
from leyden_server.model_repository.paths import without_folders

Change = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("lacks", "does not fit the unet of its config: lacks conv_in.bias"),
        ("has another shape", "conv_in.bias: shape [3] in place of [32]"),
        ("has too many", "more: an SDXL unet has no such tensor"),
    ],
)
def test_a_unet_file_that_does_not_fit_is_named(
    folder: Path, tmp_path: Path, spoil: str, said: str
) -> None:
    file = write_random_unet_file(tmp_path / "u.safetensors", model_dir=folder, seed=1)
    weights = safetensors.torch.load_file(file)
    if spoil == "lacks":
        del weights["conv_in.bias"]
    elif spoil == "has another shape":
        weights["conv_in.bias"] = torch.zeros(3)
    else:
        weights["more"] = torch.zeros(3)
    safetensors.torch.save_file(weights, file)
    student = entry(tmp_path / "student", "base: ../my-sdxl\nunet: ../u.safetensors\n")
    refused(student, f"model 'student': {file}", said)


@pytest.mark.parametrize(
    "missing",
    [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "tokenizer",
        "tokenizer_2",
    ],
)
def test_each_missing_file_is_named(folder: Path, missing: str) -> None:
    entry(folder, "description: has an entry\n")
    path = folder / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()

    refused(folder, str(path))


@pytest.mark.parametrize(
    ("part", "stem"), [("unet", "diffusion_pytorch_model"), ("text_encoder", "model")]
)
def test_pickled_weights_are_not_enough(folder: Path, part: str, stem: str) -> None:
    (folder / part / f"{stem}.safetensors").rename(folder / part / f"{stem}.bin")

    refused(folder, f"{part}/{stem}.safetensors: is missing", "safetensors only")


def test_a_variant_needs_its_own_files(folder: Path) -> None:
    entry(folder, "variant: fp16\n")
    refused(folder, ".fp16.safetensors: is missing")
    for stem in ("model", "diffusion_pytorch_model"):
        for file in folder.glob(f"*/{stem}.safetensors"):
            file.rename(file.with_name(f"{stem}.fp16.safetensors"))
    assert resolve(folder).variant == "fp16"
    assert resolve(folder).text_encoder_key.endswith("|fp16")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f: rewrite_json(f / "model_index.json", _class_name="StableDiffusionPipeline"),
            "is a StableDiffusionPipeline, not a StableDiffusionXLPipeline",
        ),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json: is not JSON"),
        (lambda f: (f / "model_index.json").write_text("[]"), "is not a JSON object"),
        (lambda f: entry(f, "unet: other.safetensors"), "other.safetensors is missing"),
        (lambda f: entry(f, "base: ../nowhere"), "nowhere/model_index.json"),
    ],
)
def test_what_is_no_sdxl_folder_is_refused(folder: Path, spoil: Change, said: str) -> None:
    file = folder / "model_index.json"
    text = file.read_text(encoding="utf-8")
    file.unlink()  # it is linked to the session's model
    file.write_text(text, encoding="utf-8")
    spoil(folder)

    refused(folder, said)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("unet/config.json", {"sample_size": "big"}, "sample_size: a whole number from 1"),
        ("unet/config.json", {"sample_size": [8, 0]}, "sample_size: a whole number from 1"),
        (
            "vae/config.json",
            {"block_out_channels": 4},
            "block_out_channels: a list of whole numbers; got 4",
        ),
        ("vae/config.json", {"latent_channels": "4"}, "latent_channels: a whole number from 1"),
        (
            "text_encoder/config.json",
            {"max_position_embeddings": True},
            "max_position_embeddings: a whole number from 1; got true",
        ),
    ],
)
def test_a_wrong_value_of_a_config_is_named(
    folder: Path, file: str, changes: dict[str, object], said: str
) -> None:
    rewrite_json(folder / file, **changes)

    refused(folder, str(folder / file), said)


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder of another user's, which a test that runs as root cannot make."""
    secret = folder / "unet"

    def glob(path: Path, pattern: str) -> list[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(secret))

    monkeypatch.setattr(Path, "glob", glob)
    refused(folder, f"model 'my-sdxl': {secret}: cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/srv/models/my/unet/config.json: is missing", "my/unet/config.json: is missing"),
        ("/srv/models/my: is a Flux", "my: is a Flux"),
        ("/models/cache/hub/x/model.yaml: a/b is wrong", "model.yaml: a/b is wrong"),
        ("pull m --model-repository /srv/models/m'", "pull m --model-repository m'"),
        ("owner/name at main, https://hub.test/a/b", "owner/name at main, https://hub.test/a/b"),
        ("(/a b/c/d.safetensors; /x/y/z)", "(d.safetensors; z)"),
    ],
)
def test_a_client_is_told_no_folder_of_the_server(text: str, told: str) -> None:
    assert without_folders(text, [Path("/srv/models"), Path("/a b/c")]) == told


def test_why_a_model_is_unavailable_names_files_from_the_repository_on(
    folder: Path, tmp_path: Path
) -> None:
    entry(tmp_path / "broken", "bse: ../my-sdxl\n")
    (folder / "vae" / "config.json").unlink()
    repository = ModelRepository([tmp_path])

    for name, file in (("broken", "broken/model.yaml"), ("my-sdxl", "my-sdxl/vae/config.json")):
        with pytest.raises(ModelRepositoryError) as caught:
            repository.resolve(name)
        told = repository.for_clients(caught.value)
        assert file in told
        assert str(tmp_path) not in told


def test_hub_files_that_were_not_fetched_say_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = entry(
        tmp_path / "m",
        "base: {repo: leyden-tests/absent, revision: v1}\n"
        "unet: {repo: leyden-tests/other, file: u.safetensors}\n",
    )
    refused(
        folder,
        "model 'm'",
        "leyden-tests/absent at v1",
        "leyden-tests/other/u.safetensors at main",
        f"leyden models pull m --model-repository {folder}",
    )
    with pytest.raises(ModelRepositoryError, match="'leyden models pull sdxl-turbo'"):
        ModelRepository().resolve("sdxl-turbo")


def test_hub_files_of_which_some_were_fetched_name_the_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = tmp_path / "cache" / "models--leyden-tests--partly" / "snapshots" / "c0ffee"
    shutil.copytree(folder, snapshot)
    model = entry(tmp_path / "m", "base: {repo: leyden-tests/partly, revision: c0ffee}\n")
    assert resolve(model).base_folder == snapshot
    (snapshot / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    (snapshot / "tokenizer_2" / "tokenizer_config.json").unlink()

    refused(
        model,
        "leyden-tests/partly at c0ffee (tokenizer_2/tokenizer_config.json, "
        "vae/diffusion_pytorch_model.safetensors)",
    )


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_shard_is_a_missing_part(folder: Path, lost: int) -> None:
    encoder = folder / "text_encoder"
    for number in {1, 2, 3} - {lost}:
        (encoder / f"model-0000{number}-of-00003.safetensors").write_bytes(b"")
    (encoder / "model.safetensors.index.json").write_text("{}")
    (encoder / "model.safetensors").unlink()

    refused(folder, f"text_encoder/model-0000{lost}-of-00003.safetensors: is missing")


def test_an_all_in_one_file_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    file = write_random_unet_file(tmp_path / "u.safetensors", model_dir=folder, seed=1)
    student = entry(tmp_path / "student", f"base: ../my-sdxl\nsingle_file: {file}\n")
    refused(student, str(file), "single_file: is an SDXL UNet", "takes it as unet:")
    file.write_bytes(b"not safetensors")
    refused(student, str(file), "no safetensors")


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("unet/config.json", "sample_size"),
        ("vae/config.json", "block_out_channels"),
        ("vae/config.json", "latent_channels"),
        ("text_encoder/config.json", "max_position_embeddings"),
    ],
)
def test_a_config_without_a_key_is_named(folder: Path, file: str, key: str) -> None:
    rewrite_json(folder / file, **{key: None})

    refused(folder, str(folder / file), key)


def test_a_unet_file_that_is_no_safetensors_file_is_refused(folder: Path) -> None:
    (folder / "u.safetensors").write_bytes(b"not safetensors")
    entry(folder, "unet: u.safetensors\n")

    refused(folder, str(folder / "u.safetensors"), "is no safetensors file")
