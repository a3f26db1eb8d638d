"""Entries are found and resolved."""

import hashlib
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.checkpoint_files import write_sharded
from support.model_folders import entry, resolve, revision, rewrite_json, rewrite_scheduler
from support.random_sdxl import write_random_unet_file
from support.stages import write_model

from leyden_server.accelerator.row_caps import measure_row_cap
from leyden_server.denoiser.unet_runner import UNetRunner
from leyden_server.denoiser.unet_weights import load_unet
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.model_repository.repository import SHIPPED_MODELS


def test_the_embedded_models_resolve() -> None:
    repository = ModelRepository()

    students = [f"leyden-tiny-lightning-{steps}step" for steps in (8, 4, 2, 1)]
    for name in ("leyden-tiny-base", *students):
        model = repository.resolve(name)
        assert model.base_folder == SHIPPED_MODELS / "leyden-tiny-base"
        assert model.license == "Apache-2.0"
        assert (model.vae_scale_factor, model.latent_channels) == (8, 4)
        assert (model.width_px, model.height_px) == (256, 256)
        assert model.max_prompt_tokens == 77
        assert model.preview is not None
        assert len(model.preview.factors) == model.latent_channels


def test_the_embedded_models_are_small_enough_to_ship() -> None:
    files = [file for file in SHIPPED_MODELS.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in files) <= 60_000_000


def test_models_of_one_base_share_its_key(lightning: ResolvedModel, base: ResolvedModel) -> None:
    assert lightning.text_encoder_key == base.text_encoder_key
    assert lightning.vae_key == base.vae_key
    assert lightning.unet_file is not None
    assert base.unet_file is None
    assert revision(lightning) != revision(base)
    assert revision(base).startswith("sha256:")
    assert lightning.scheduler_config["timestep_spacing"] == "trailing"


def test_a_plain_diffusers_folder_is_a_model(folder: Path) -> None:
    model = resolve(folder)

    assert model.name == "my-sdxl"
    assert (model.width_px, model.height_px) == (64, 64)
    assert (model.min_size_px, model.max_size_px) == (32, 128)
    assert model.solvers == ("euler",)
    assert (model.steps.min, model.steps.default, model.steps.max) == (1, 50, 100)
    assert model.default_guidance_scale == 7.0
    assert model.zeroes_empty_negative_prompt
    assert model.preview is None
    assert model.unet_file is None


def test_what_the_folder_says_is_taken(tmp_path: Path) -> None:
    model = write_model(
        tmp_path / "m",
        "",
        scheduler_class="EulerAncestralDiscreteScheduler",
        scheduler_overrides={"prediction_type": "v_prediction", "timestep_spacing": "leading"},
        force_zeros_for_empty_prompt=False,
        vae_block_out_channels=(8, 16),
        sample_size=32,
    )
    assert model.solvers == ("euler_ancestral",)
    assert model.scheduler_config["prediction_type"] == "v_prediction"
    assert model.scheduler_config["timestep_spacing"] == "leading"
    assert not model.zeroes_empty_negative_prompt
    assert (model.vae_scale_factor, model.width_px) == (2, 64)


def test_the_entry_is_laid_over_the_folder(folder: Path) -> None:
    entry(
        folder,
        "description: mine\nlicense: MIT\n"
        "noise_schedule: {solvers: [euler_ancestral, euler], prediction_type: v_prediction}\n"
        "num_inference_steps: {default: 8, min: 2, max: 10}\n"
        "guidance_scale: {default: 1.5, max: 3}\n"
        "size: {default_width_px: 96, max_px: 104}\n",
    )
    model = resolve(folder)

    assert (model.description, model.license) == ("mine", "MIT")
    assert model.solvers == ("euler_ancestral", "euler")
    assert model.scheduler_config["prediction_type"] == "v_prediction"
    assert model.scheduler_config["timestep_spacing"] == "trailing"
    assert (model.steps.min, model.steps.default, model.steps.max) == (2, 8, 10)
    assert (model.default_guidance_scale, model.max_guidance_scale) == (1.5, 3)
    assert (model.width_px, model.height_px, model.max_size_px) == (96, 64, 104)


def test_sides_of_a_native_size_may_differ(folder: Path) -> None:
    rewrite_json(folder / "unet" / "config.json", sample_size=[8, 16])

    assert (resolve(folder).width_px, resolve(folder).height_px) == (128, 64)


def test_a_folder_of_models_gives_each_and_passes_over_the_rest(
    folder: Path, tmp_path: Path
) -> None:
    entry(tmp_path / "student", "base: ../my-sdxl\n")
    (tmp_path / "notes").mkdir()
    (tmp_path / "readme.txt").write_text("no model", encoding="utf-8")
    repository = ModelRepository([tmp_path])

    assert {"my-sdxl", "student"} == set(repository.items) - set(ModelRepository().items)
    assert repository.resolve("student").base_folder == folder


def test_a_unet_file_takes_the_place_of_the_base_unet(folder: Path, tmp_path: Path) -> None:
    file = write_random_unet_file(tmp_path / "u.safetensors", model_dir=folder, seed=1)
    student = entry(tmp_path / "student", "base: ../my-sdxl\nunet: ../u.safetensors\n")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    model = resolve(student)

    assert model.unet_file == file
    expected = safetensors.torch.load_file(file)
    loaded = load_unet(model, torch.float32).unet.state_dict()
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    runner = UNetRunner.load(model, dtype=torch.float32, device=torch.device("cpu"))
    assert measure_row_cap(lambda rows: runner.time_rows(rows, 8, 8), 1)[0] == 1
    with pytest.raises(
        ModelRepositoryError, match=r"diffusion_pytorch_model\.safetensors: is miss"
    ):
        resolve(folder)


def test_the_digest_is_of_the_weights_that_are_loaded(folder: Path, tmp_path: Path) -> None:
    unet = folder / "unet"
    whole = unet / "diffusion_pytorch_model.safetensors"
    plain = revision(resolve(folder))
    assert plain == f"sha256:{hashlib.sha256(whole.read_bytes()).hexdigest()[:16]}"
    write_sharded(tmp_path / "sharded", folder, "fp16")
    for part in (tmp_path / "sharded").iterdir():
        for file in part.glob("*fp16*") if part.is_dir() else ():
            shutil.copy(file, folder / part.name / file.name)
    assert revision(resolve(folder)) == plain

    half = resolve(entry(tmp_path / "half", "base: ../my-sdxl\nvariant: fp16\n"))
    shards = sorted(unet.glob("*.fp16-*.safetensors"))
    assert len(shards) > 1
    assert half.unet_weight_files == tuple(shards)
    digests = [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards]
    expected = hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]
    assert revision(half) == f"sha256:{expected}"


def test_the_digest_of_a_hub_file_is_what_the_cache_names_it_by(
    folder: Path, tmp_path: Path
) -> None:
    """It was checked when it was fetched; the digest of 5 GB is not taken at each start."""
    blob = tmp_path / "blobs" / ("0123456789abcdef" * 4)
    blob.parent.mkdir()
    write_random_unet_file(tmp_path / "u.safetensors", model_dir=folder, seed=1).rename(blob)
    (tmp_path / "u.safetensors").symlink_to(blob)
    student = entry(tmp_path / "student", "base: ../my-sdxl\nunet: ../u.safetensors\n")

    assert resolve(student).unet_file == blob
    assert revision(resolve(student)) == "sha256:0123456789abcdef"


def test_sources_are_written_as_a_path_or_as_a_mapping(folder: Path, tmp_path: Path) -> None:
    file = write_random_unet_file(tmp_path / "u.safetensors", model_dir=folder, seed=1)
    student = entry(
        tmp_path / "student", "base: {path: ../my-sdxl}\nunet: {path: ../u.safetensors}\n"
    )
    assert (resolve(student).base_folder, resolve(student).unet_file) == (folder, file)


@pytest.mark.parametrize(
    ("scheduler_class", "fields", "solver"),
    [
        ("LCMScheduler", {}, "lcm"),
        ("TCDScheduler", {}, "tcd"),
        ("DPMSolverMultistepScheduler", {}, "dpmpp_2m"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde"),
    ],
)
def test_the_solver_is_that_of_the_folders_scheduler(
    folder: Path, scheduler_class: str, fields: dict[str, str], solver: str
) -> None:
    rewrite_scheduler(folder, _class_name=scheduler_class, **fields)

    assert resolve(folder).solvers == (solver,)


def test_a_consistency_model_has_as_many_steps_as_its_timesteps(folder: Path) -> None:
    entry(folder, "noise_schedule: {solvers: [lcm]}\n")
    assert (resolve(folder).steps.default, resolve(folder).steps.max) == (50, 50)

    rewrite_json(folder / "scheduler" / "scheduler_config.json", original_inference_steps=100)
    assert (resolve(folder).steps.default, resolve(folder).steps.max) == (50, 100)

    entry(folder, "noise_schedule: {solvers: [lcm]}\nnum_inference_steps: {default: 4, max: 8}\n")
    assert (resolve(folder).steps.default, resolve(folder).steps.max) == (4, 8)


def test_timesteps_and_eta_of_the_entry_are_taken(folder: Path) -> None:
    entry(
        folder,
        "noise_schedule: {solvers: [tcd], eta: 1, timesteps: {1: [800], 2: [999, 499]}}\n"
        "num_inference_steps: {default: 4, max: 8}\n",
    )
    model = resolve(folder)
    assert (model.timesteps, model.eta) == ({1: (800,), 2: (999, 499)}, 1.0)

    entry(folder, "noise_schedule: {solvers: [tcd]}\nnum_inference_steps: {default: 4, max: 8}\n")
    assert (resolve(folder).timesteps, resolve(folder).eta) == ({}, 0.0)
