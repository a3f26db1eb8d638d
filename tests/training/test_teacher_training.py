"""Training of a tiny teacher: it learns, it can be stopped, and it goes on from weights alone."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from support.tiny_training import (
    ALONE,
    SHAPE,
    SIDE,
    checkpoint_of,
    signals_given_back,
    stopped_in,
    write_latents,
)
from support.training_command import leyden_train

from leyden_training.kept_weights import keep_teacher, kept_state, read_kept
from leyden_training.latents import load_latents
from leyden_training.parts import ModelShape, alphas_cumprod, build_vae, embedded_tokenizers
from leyden_training.run_folder import RunFolder
from leyden_training.schedule import learning_rate_at
from leyden_training.teacher import Teacher
from leyden_training.teacher_training import (
    TeacherSettings,
    load_teacher,
    teacher_loss,
    train_teacher,
)
from leyden_training.workers import Workers, run_workers

SETTINGS = TeacherSettings(
    half_iterations=4,
    whole_iterations=6,
    half_batch=8,
    whole_batch=8,
    warmup=3,
    cooldown=2,
    ema_decay=0.8,
)


@pytest.fixture(scope="module", autouse=True)
def quietly() -> Iterator[None]:
    torch.set_num_threads(1)
    with signals_given_back():
        yield


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_latents(tmp_path_factory.mktemp("data"))


def train(latents: Path, run: Path, settings: TeacherSettings = SETTINGS, **more: Any) -> None:
    arguments: dict[str, Any] = {"workers": ALONE, "shape": SHAPE, **more}
    train_teacher(
        latents=latents,
        run=run,
        tokenizer=embedded_tokenizers()[0],
        settings=settings,
        **arguments,
    )


def measured_loss(teacher: Teacher, latents: Path) -> float:
    """On the same batches for every teacher."""
    with torch.no_grad():
        losses = [
            teacher_loss(
                teacher,
                load_latents(latents),
                batch=16,
                alphas=alphas_cumprod(),
                random=np.random.default_rng([7, number]),
                device=torch.device("cpu"),
            )
            for number in range(4)
        ]
    return torch.stack(losses).mean().item()


def test_training_lowers_the_loss(latents: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, half_iterations=0, whole_iterations=60, ema_decay=0.9)
    train(latents, tmp_path, settings)
    tokenizer = embedded_tokenizers()[0]
    torch.manual_seed(0)
    untrained = measured_loss(Teacher(SHAPE, tokenizer), latents)
    assert measured_loss(load_teacher(tmp_path, SHAPE, tokenizer), latents) < 0.8 * untrained
    with (tmp_path / "curve.csv").open(newline="") as file:
        assert [int(row["iteration"]) for row in csv.DictReader(file)] == [10, 20, 30, 40, 50, 60]


def test_stopped_and_resumed_is_the_same_as_uninterrupted(latents: Path, tmp_path: Path) -> None:
    train(latents, tmp_path / "whole")
    train(latents, tmp_path / "parts", workers=stopped_in(update=5))
    assert checkpoint_of(tmp_path / "parts")["iteration"] == 5
    train(latents, tmp_path / "parts")
    whole, parts = checkpoint_of(tmp_path / "whole"), checkpoint_of(tmp_path / "parts")
    assert whole["iteration"] == parts["iteration"] == SETTINGS.iterations
    for part in ("teacher", "average"):
        for name, value in whole[part].items():
            torch.testing.assert_close(parts[part][name], value, rtol=0, atol=0)


def test_kept_weights_alone_are_gone_on_from(latents: Path, tmp_path: Path) -> None:
    tokenizer, kept = embedded_tokenizers()[0], tmp_path / "kept"
    train(latents, tmp_path / "first", replace(SETTINGS, whole_iterations=2, cooldown=1))
    size = keep_teacher(
        tmp_path / "first", Teacher(SHAPE, tokenizer), latents / "vae", tmp_path / "kept"
    )
    assert size == sum(f.stat().st_size for f in kept.rglob("*") if f.is_file()) < 1_000_000
    state = kept_state(kept)
    assert (state["iteration"], state["settings"]["whole_iterations"]) == (6, 2)
    assert ModelShape.of(state["shape"]) == SHAPE

    # Nothing is trained yet: model and average are the kept weights.
    goes_on = replace(SETTINGS, whole_iterations=2)
    train(latents, tmp_path / "second", goes_on, start=kept)
    first, second = checkpoint_of(tmp_path / "first"), checkpoint_of(tmp_path / "second")
    assert second["iteration"] == second["warmed_from"] == 6
    for name, value in first["average"].items():
        if name.startswith("module."):
            for found in (second["average"][name], second["teacher"][name[7:]]):
                torch.testing.assert_close(found, value.half().float())

    # It goes on at iteration 6, and from its own checkpoint whatever `start` says.
    train(latents, tmp_path / "second", SETTINGS, start=tmp_path / "nowhere")
    assert checkpoint_of(tmp_path / "second")["iteration"] == SETTINGS.iterations
    assert checkpoint_of(tmp_path / "second")["average"]["n_averaged"] == SETTINGS.iterations
    assert (tmp_path / "second" / "curve.csv").read_text().splitlines()[1].startswith("10,")


def test_kept_weights_that_do_not_fit_are_refused(latents: Path, tmp_path: Path) -> None:
    train(latents, tmp_path / "run", replace(SETTINGS, half_iterations=1, whole_iterations=0))
    teacher = Teacher(SHAPE, embedded_tokenizers()[0])
    keep_teacher(tmp_path / "run", teacher, latents / "vae", tmp_path / "kept")
    assert read_kept(tmp_path / "kept", SHAPE, latents / "vae").iteration == 1
    with pytest.raises(ValueError, match="is of the shape"):
        read_kept(tmp_path / "kept", ModelShape(), latents / "vae")
    torch.manual_seed(1)
    build_vae(SHAPE).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="latents of another VAE"):
        read_kept(tmp_path / "kept", SHAPE, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        keep_teacher(tmp_path, teacher, latents / "vae", tmp_path / "kept")


def test_a_half_precision_copy_of_a_vae_is_the_same_vae(latents: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    from leyden_training.kept_weights import vae_digest

    AutoencoderKL.from_pretrained(latents / "vae").half().save_pretrained(tmp_path)
    assert vae_digest(tmp_path) == vae_digest(latents / "vae")


def test_a_checkpoint_without_settings_still_loads(latents: Path, tmp_path: Path) -> None:
    """As the first version wrote it: iteration, teacher, average, optimizers."""
    train(latents, tmp_path, replace(SETTINGS, whole_iterations=2))
    old = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    RunFolder(tmp_path, ALONE).save(
        {name: old[name] for name in ("iteration", "teacher", "average", "optimizers")}
    )
    train(latents, tmp_path)
    assert checkpoint_of(tmp_path)["iteration"] == SETTINGS.iterations
    assert checkpoint_of(tmp_path)["warmed_from"] == 0


def test_learning_rate_rises_anew_after_a_start_from_weights() -> None:
    rates = [
        learning_rate_at(i, total=100, peak=1, warmup=4, cooldown=10, start=50)
        for i in (50, 52, 53, 80, 95)
    ]
    assert rates == [0.25, 0.75, 1, 1, 0.5]


def test_exported_folder_loads_in_the_stock_pipeline(
    latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the command line, whose options become the run's settings and are kept with it."""
    (tmp_path / "latents").symlink_to(latents)

    def run(*arguments: object) -> None:
        assert leyden_train(monkeypatch, tmp_path, *arguments) == 0

    sizes = ("--half-batch", 4, "--whole-batch", 6, "--learning-rate", 0.001, "--cooldown", 1)
    run("teacher", "--half-iterations", 1, "--whole-iterations", 2, *sizes)
    run("teacher", "--whole-iterations", 3)  # the others stay as they were
    run("keep", tmp_path / "kept")
    state = json.loads((tmp_path / "kept" / "state.json").read_text())
    assert state["iteration"] == 4
    assert state["settings"] == {
        **{"half_iterations": 1, "whole_iterations": 3, "half_batch": 4, "whole_batch": 6},
        **{"learning_rate": 0.001, "cooldown": 1, "warmup": 50, "ema_decay": 0.998, "seed": 0},
    }
    run("export", tmp_path / "base")
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        tmp_path / "base", dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a lake", num_inference_steps=2, guidance_scale=2.0).images[0]
    assert picture.size == (SIDE, SIDE)
    assert np.asarray(picture).std() > 1


def test_an_unknown_key_of_a_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"native: unknown key.*is 'native_px'"):
        ModelShape.of({"native": 64})
    assert ModelShape.of({"native_px": 64}) == ModelShape(native_px=64)


def test_an_odd_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="half_batch: 5 is not a multiple of 2"):
        TeacherSettings(half_batch=5)


def half_as_much(workers: Workers, out: Path) -> None:
    """Averages gradients of rank + 1 over the workers."""
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), workers.rank + 1.0)
    workers.average_gradients([parameter])
    torch.save(parameter.grad, out / f"{workers.rank}.pt")


def test_two_workers_average_their_gradients(tmp_path: Path) -> None:
    run_workers(half_as_much, {"out": tmp_path}, count=2)
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt").tolist() == [1.5, 1.5, 1.5]
