"""Finished models become folders of a model repository."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from support.tiny_training import SHAPE, SIDE, write_pipeline

from leyden_server.model_repository import ModelRepository
from leyden_training.distillation.steps import Prediction
from leyden_training.packaging import package
from leyden_training.parts import build_unet, build_vae

ENTRY = """
license: Apache-2.0
base: ../leyden-tiny-base
unet: unet/diffusion_pytorch_model.safetensors
noise_schedule: {{solvers: [euler], timestep_spacing: trailing, prediction_type: {prediction}}}
num_inference_steps: {{default: {steps}, min: {steps}, max: {steps}}}
guidance_scale: {{default: 0, min: 0, max: 2}}
"""
CARD = "written by a person\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packaging")
    build_vae(SHAPE).save_pretrained(folder / "vae")
    pipeline = write_pipeline(folder / "teacher", folder / "vae")
    for steps in (4, 1):
        torch.manual_seed(steps)
        unet = build_unet(SHAPE)
        torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
        unet.half().save_pretrained(folder / f"{steps}step" / "unet")
    out = folder / "models"
    (out / "leyden-tiny-base").mkdir(parents=True)
    (out / "leyden-tiny-base" / "README.md").write_text(CARD)
    students: dict[int, tuple[Path, Prediction]] = {
        4: (folder / "4step" / "unet", "epsilon"),
        1: (folder / "1step" / "unet", "sample"),
    }
    first = package(pipeline, students, out)
    assert package(pipeline, students, out) == first  # again, over what is there
    for steps, (_, prediction) in students.items():
        entry = out / f"leyden-tiny-lightning-{steps}step" / "model.yaml"
        entry.write_text(ENTRY.format(steps=steps, prediction=prediction))
    return out


def test_what_a_person_wrote_stays(repository: Path) -> None:
    assert (repository / "leyden-tiny-base" / "README.md").read_text() == CARD


def test_no_part_names_the_folder_that_it_was_trained_in(repository: Path) -> None:
    for config in repository.rglob("config.json"):
        assert "_name_or_path" not in config.read_text()


@pytest.mark.parametrize("steps", [4, 1])
def test_stock_diffusers_loads_a_student(repository: Path, steps: int) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        repository / f"leyden-tiny-lightning-{steps}step",
        dtype=torch.float32,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.scheduler, EulerDiscreteScheduler)
    assert pipeline.scheduler.config.prediction_type == ("sample" if steps == 1 else "epsilon")
    picture = pipeline("a lake", num_inference_steps=steps, guidance_scale=0).images[0]
    assert picture.size == (SIDE, SIDE)
    assert np.asarray(picture).std() > 1


def test_the_server_sees_what_is_shared(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place where the models ship, for which they are meant."""
    monkeypatch.setattr("leyden_server.model_repository.repository.SHIPPED_MODELS", repository)
    models = ModelRepository()
    base = models.resolve("leyden-tiny-base")
    for steps in (4, 1):
        student = models.resolve(f"leyden-tiny-lightning-{steps}step")
        assert student.text_encoder_key == base.text_encoder_key
        assert (student.width_px, student.height_px) == (SIDE, SIDE)
        assert student.unet_file is not None


def test_a_missing_part_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        package(repository / "leyden-tiny-base", {4: (tmp_path / "nowhere", "epsilon")}, tmp_path)
    assert not list(tmp_path.iterdir())
