"""What is wrong with an entry or its folder is said by name."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from support.model_folders import entry, resolve, rewrite_json, rewrite_scheduler
from support.random_sdxl import write_random_unet_file

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository
from leyden_server.model_repository.paths import without_folders

Change = Callable[[Path], object]


def refused(folder: Path, *said: str) -> None:
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(folder)
    for text in said:
        assert text in str(caught.value)


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
    ("text", "said"),
    [
        ("num_inference_step: {}", "unknown key; the nearest known one is 'num_inference_steps'"),
        ("size: {min: 8}", "size.min: unknown key; the nearest known one is 'min_px'"),
        (
            "preview: {factor: []}",
            "preview.factor: unknown key; the nearest known one is 'factors'",
        ),
        ("noise_schedule: {solvers: [dpm]}", "noise_schedule.solvers.0"),
        ("noise_schedule: {solvers: [euler, euler]}", "a solver is named twice"),
        ("noise_schedule: {eta: 1.5}", "noise_schedule.eta"),
        ("noise_schedule: {timesteps: {2: [999]}}", "2 steps have 1 timesteps"),
        ("noise_schedule: {timesteps: {0: []}}", "0 steps have 0 timesteps"),
        ("noise_schedule: {timesteps: {2: [499, 999]}}", "the timesteps of 2 steps fall"),
        ("noise_schedule: {timesteps: {1: [-1]}}", "the timesteps of 1 steps fall"),
        ("num_inference_steps: {default: 4, min: 8}", "min <= default <= max must hold"),
        ("guidance_scale: {default: 30}", "min <= default <= max must hold"),
        ("unet: unet.ckpt", "pickled weights are not loaded"),
        ("base: {repo: a/b, path: c}", "base: Value error, either a path or a hub repo"),
        ("base: {revision: main}", "base: Value error, either a path or a hub repo"),
        ("base: {repo: a/b/c}", "base.repo"),
        ("base: {repo: ../../etc}", "base.repo"),
        ("base: {path: a, revision: v1}", "a revision belongs to a hub repo"),
        ("base: {repo: a/b, revision: ../c}", "a revision is a commit hash, a tag or a branch"),
        ("base: {repo: a/b, revison: v1}", "base.revison: unknown key; the nearest known one is"),
        ("unet: {repo: a/b}", "a hub repo needs its file"),
        ("unet: {path: u.safetensors, file: u.safetensors}", "a file its hub repo"),
        ("unet: {repo: a/b, file: u.bin}", "pickled weights are not loaded"),
        ("unet: {repo: a/b, file: ../../u.safetensors}", "must lie within the hub repo"),
        ("lora: {path: l.safetensors, scale: 0}", "lora.0.scale"),
        ("lora: {path: l.safetensors, scales: 1}", "the nearest known one is 'scale'"),
        ("hub: true", "hub: unknown key"),
        ("- a", "the file"),
    ],
)
def test_a_wrong_entry_names_its_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    folder = entry(tmp_path / "m", text)

    refused(folder, str(folder / "model.yaml"), said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "size: {default_width_px: 100}",
            "size.default_width_px: a multiple of 8 from 32 to 200; got 100",
        ),
        (
            "size: {default_height_px: 32, min_px: 48}",
            "size.default_height_px: a multiple of 8 from 48 to 128; got 32",
        ),
        ("size: {max_px: 56}", "size.default_width_px: a multiple of 8 from 32 to 56; got 64"),
        ("size: {min_px: 80, max_px: 72}", "size.max_px: at least size.min_px, 80; got 72"),
        (
            "preview: {factors: [[0, 0, 0], [0, 0, 0], [0, 0, 0]], bias: [0, 0, 0]}",
            "preview.factors: a row for each of the 4 latent channels; got 3",
        ),
    ],
)
def test_an_entry_that_does_not_fit_its_base_says_what_would(
    folder: Path, text: str, said: str
) -> None:
    refused(entry(folder, text), "model 'my-sdxl'", said)


def test_a_model_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(ModelRepositoryError, match="mean 'leyden-tiny-base'") as caught:
        ModelRepository().resolve("leyden-tiny-bass")
    assert "leyden-tiny-lightning-4step" in str(caught.value)


def test_a_wrong_entry_stops_nobody_who_asks_for_another(folder: Path, tmp_path: Path) -> None:
    broken = entry(tmp_path / "broken", "bse: ../my-sdxl\n")
    repository = ModelRepository([tmp_path])

    assert repository.resolve("my-sdxl").base_folder == folder
    assert {"broken", "my-sdxl"} <= set(repository.names)
    assert "broken" not in repository.items
    with pytest.raises(ModelRepositoryError, match=r"bse: unknown key.*'base'") as caught:
        repository.resolve("broken")
    assert str(broken / "model.yaml") in str(caught.value)
    with pytest.raises(ModelRepositoryError, match="mean 'broken'"):
        repository.resolve("brokn")


def test_two_of_one_name_are_refused_though_one_is_broken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    twin = entry(tmp_path / "more" / "my-sdxl", "- a")
    with pytest.raises(ModelRepositoryError, match="same name"):
        ModelRepository([folder, twin])


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


def test_two_models_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    twin = entry(tmp_path / "more" / "my-sdxl", "base: ../../my-sdxl\n")
    with pytest.raises(ModelRepositoryError, match="same name") as caught:
        ModelRepository([folder, twin])
    assert str(folder) in str(caught.value)
    assert str(twin) in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRepositoryError, match="has no model"):
        ModelRepository([tmp_path])
    with pytest.raises(ModelRepositoryError, match="is not a folder"):
        ModelRepository([tmp_path / "absent"])


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


def test_ancestral_steps_of_a_model_that_predicts_samples_are_refused(folder: Path) -> None:
    """diffusers has no such step, so there is nothing to be equal to."""
    entry(folder, "noise_schedule: {solvers: [euler_ancestral], prediction_type: sample}\n")

    refused(folder, "my-sdxl", "euler_ancestral", "sample")


FEW = "num_inference_steps: {default: 4, min: 1, max: 8}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "noise_schedule: {solvers: [dpmpp_2m]}\n" + FEW,
            ["dpmpp_2m is for bases", "num_inference_steps.max is 8, under 10"],
        ),
        (
            "noise_schedule: {solvers: [euler, dpmpp_2m_sde]}\n" + FEW,
            ["dpmpp_2m_sde is for bases", "noise_schedule.solvers"],
        ),
        (
            "noise_schedule: {solvers: [lcm, dpmpp_2m]}\n"
            "num_inference_steps: {default: 4, max: 50}\n",
            ["dpmpp_2m is for bases", "lcm and tcd are for distilled models"],
        ),
        (
            "noise_schedule: {solvers: [lcm]}\nnum_inference_steps: {max: 51}\n",
            ["num_inference_steps.max: at most 50 with lcm", "got 51"],
        ),
        (
            "noise_schedule: {solvers: [tcd]}\nnum_inference_steps: {default: 60}\n",
            ["num_inference_steps.max: at most 50 with tcd"],
        ),
        ("noise_schedule: {eta: 0.5}\n", ["noise_schedule.eta", "tcd alone"]),
        (
            "noise_schedule: {solvers: [euler_ancestral], timesteps: {1: [999]}}\n",
            ["noise_schedule.timesteps", "euler_ancestral"],
        ),
        (
            "noise_schedule: {timesteps: {2: [1000, 499]}}\n",
            ["noise_schedule.timesteps.2: below 1000; got 1000"],
        ),
        (
            "noise_schedule: {timesteps: {9: [9, 8, 7, 6, 5, 4, 3, 2, 1]}}\n" + FEW,
            ["noise_schedule.timesteps: 9 steps are outside of num_inference_steps, 1 to 8"],
        ),
    ],
)
def test_solvers_that_cannot_serve_a_model_are_refused(
    folder: Path, text: str, said: list[str]
) -> None:
    entry(folder, text)

    refused(folder, "my-sdxl", *said)


@pytest.mark.parametrize(
    ("fields", "text", "said"),
    [
        (
            {"_class_name": "DPMSolverMultistepScheduler"},
            FEW,
            ["dpmpp_2m is for bases", "noise_schedule.solvers"],
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"},
            "",
            ["algorithm_type: dpmsolver++ or sde-dpmsolver++", "'dpmsolver'"],
        ),
        (
            {"rescale_betas_zero_snr": True},
            "noise_schedule: {solvers: [lcm]}\n" + FEW,
            ["lcm", "epsilon", "rescale_betas_zero_snr"],
        ),
        (
            {"use_karras_sigmas": True},
            "noise_schedule: {timesteps: {1: [999]}}\n",
            ["noise_schedule.timesteps", "use_karras_sigmas"],
        ),
        (
            {"timestep_type": "continuous"},
            "noise_schedule: {timesteps: {1: [999]}}\n",
            ["noise_schedule.timesteps", "timestep_type continuous"],
        ),
    ],
)
def test_solvers_that_cannot_serve_a_schedule_are_refused(
    folder: Path, fields: dict[str, Any], text: str, said: list[str]
) -> None:
    rewrite_scheduler(folder, **fields)
    entry(folder, text)

    refused(folder, "my-sdxl", *said)


def test_a_unet_distilled_with_guidance_is_no_base(folder: Path) -> None:
    rewrite_json(folder / "unet" / "config.json", time_cond_proj_dim=256)
    entry(folder, "noise_schedule: {solvers: [dpmpp_2m]}\n")

    refused(folder, "my-sdxl", "dpmpp_2m is for bases", "time_cond_proj_dim")


def test_a_unet_file_that_is_no_safetensors_file_is_refused(folder: Path) -> None:
    (folder / "u.safetensors").write_bytes(b"not safetensors")
    entry(folder, "unet: u.safetensors\n")

    refused(folder, str(folder / "u.safetensors"), "is no safetensors file")
