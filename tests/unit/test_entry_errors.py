"""What is wrong with a model.yaml is said by file and key."""

from pathlib import Path

import pytest
from support.model_folders import entry, refused

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository


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
        ("base: {repo: a/b, path: c}", "base: either a path or a hub repo"),
        ("base: {revision: main}", "base: either a path or a hub repo"),
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
