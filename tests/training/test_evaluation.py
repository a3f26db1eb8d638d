"""Classifier and whole evaluation on tiny pictures and models."""

import json
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from leyden_training import cli
from leyden_training.data.dataset import load_dataset, render_dataset
from leyden_training.data.scene import ATTRIBUTES
from leyden_training.evaluation.adherence import OVERALL, adherence
from leyden_training.evaluation.classifier import AttributeClassifier, judge, load_classifier
from leyden_training.evaluation.classifier_training import ClassifierSettings, train_classifier
from leyden_training.evaluation.intervals import resamples
from leyden_training.evaluation.pictures import (
    CHUNK,
    Paint,
    PictureSet,
    Pixels,
    Rendering,
    Sampling,
    fill,
)
from leyden_training.evaluation.prompts import (
    HELD_OUT_SEED,
    Prompt,
    held_out_prompts,
    stated,
    truth,
)
from leyden_training.evaluation.systems import System, available, usual_systems
from leyden_training.parts import (
    ModelShape,
    build_text_encoders,
    build_unet,
    build_vae,
    embedded_tokenizers,
    save_pipeline,
)
from leyden_training.workers import Workers

SIDE = 64
SHAPE = ModelShape(
    native_px=SIDE,
    unet_channels=(8, 8, 8),
    unet_heads=(1, 1, 1),
    unet_norm_groups=4,
    time_id_channels=8,
    text_widths=(8, 8),
    text_heads=(1, 1),
    text_layers=1,
    vae_channels=(4, 4, 4, 4),
    vae_norm_groups=2,
)
ALONE = Workers(0, 1, torch.device("cpu"))


def random_unet(seed: int) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    unet = build_unet(SHAPE)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1)
    return unet


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a data set, a shortly trained classifier, and a 4-step student."""
    folder = tmp_path_factory.mktemp("runs")
    render_dataset(folder / "data", count=400, seed=0, workers=2, size_buckets={(SIDE, SIDE): 1.0})
    settings = ClassifierSettings(iterations=50, batch=32, reconstructed=2)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    tokenizers = embedded_tokenizers()
    torch.manual_seed(0)
    save_pipeline(
        folder / "pipeline",
        vae=build_vae(SHAPE),
        unet=random_unet(0),
        text_encoders=build_text_encoders(SHAPE, tokenizers[0]),
        tokenizers=tokenizers,
    )
    random_unet(1).half().save_pretrained(folder / "students" / "4step" / "unet")
    (folder / "students" / "4step" / "curve.csv").write_text(
        "iteration,distillation,accuracy,features\n10,0.5,nan,nan\n20,0.25,0.6,0.1\n"
    )
    vae = folder / "pipeline" / "vae"
    train_classifier(ALONE, folder / "data", folder / "classifier", settings, vae)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> AttributeClassifier:
    return load_classifier(folder / "classifier")


@pytest.fixture(scope="module")
def prompts(folder: Path) -> tuple[Prompt, ...]:
    return held_out_prompts(64, SIDE, folder / "data")


def rendered(prompts: Sequence[Prompt], number: int) -> Pixels:
    return Rendering(number).open(torch.device("cpu"))(0, prompts)


def test_prompts_are_held_out_and_do_not_depend_on_their_number(
    folder: Path, prompts: tuple[Prompt, ...]
) -> None:
    dataset = load_dataset(folder / "data")
    seen = {c.text.lower() for b in dataset.buckets.values() for cs in b.captions for c in cs}
    assert not seen & {prompt.text.lower() for prompt in prompts}
    assert held_out_prompts(8, SIDE, folder / "data") == prompts[:8]


def test_a_data_set_of_the_held_out_seed_is_refused(tmp_path: Path) -> None:
    size = {(SIDE, SIDE): 1.0}
    render_dataset(tmp_path, count=1, seed=HELD_OUT_SEED, workers=1, size_buckets=size)
    with pytest.raises(ValueError, match=rf"seed {HELD_OUT_SEED}, which is kept"):
        held_out_prompts(8, SIDE, tmp_path)


def test_classifier_recovers_more_than_the_commonest_classes_would(
    folder: Path, classifier: AttributeClassifier, prompts: tuple[Prompt, ...]
) -> None:
    draws, wanted, said = resamples(len(prompts), 300), truth(prompts), stated(prompts)
    found = judge(classifier, rendered(prompts, 0)).classes
    bucket = load_dataset(folder / "data").buckets[SIDE, SIDE]
    commonest = [np.bincount(bucket.attributes[:, i]).argmax() for i in range(len(ATTRIBUTES))]
    guessed = np.tile(np.array(commonest, np.int64), (len(prompts), 1))
    shares = [adherence(classes, wanted, said, draws)[OVERALL] for classes in (found, guessed)]
    assert shares[0].interval().low > shares[1].interval().high

    told = json.loads((folder / "classifier" / "accuracy.json").read_text())
    assert list(told) == list(ATTRIBUTES)
    assert all(row["low"] <= row["estimate"] <= row["high"] for row in told.values())


def test_classifier_takes_any_aspect_and_judges_each_picture_alone(
    classifier: AttributeClassifier, prompts: tuple[Prompt, ...]
) -> None:
    pictures = rendered(prompts[:5], 0)
    whole, single = judge(classifier, pictures), judge(classifier, pictures[2:3])
    np.testing.assert_allclose(whole.features[2:3], single.features, rtol=1e-3, atol=1e-4)
    assert judge(classifier, pictures[:, 8:56]).features.shape == whole.features.shape


def test_training_stops_and_goes_on(folder: Path, tmp_path: Path) -> None:
    data, longer = folder / "data", ClassifierSettings(iterations=3, batch=8)
    train_classifier(ALONE, data, tmp_path, replace(longer, iterations=2))
    with pytest.raises(FileNotFoundError, match="leyden-train classifier"):
        load_classifier(tmp_path / "nowhere")
    before = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    train_classifier(ALONE, data, tmp_path, longer)
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (before["iteration"], after["iteration"]) == (2, 3)


def test_noise_of_two_blocks_differs_and_batches_change_nothing(
    folder: Path, prompts: tuple[Prompt, ...]
) -> None:
    system = System("teacher", folder / "pipeline", 2)
    paint = Sampling(system).open(torch.device("cpu"))
    first = paint(0, prompts[:4])
    np.testing.assert_array_less(np.abs(first[2:3] - paint(2, prompts[2:3]).astype(int)), 2)
    other = Sampling(system, block=1).open(torch.device("cpu"))(0, prompts[:4])
    assert np.abs(first.astype(int) - other).mean() > 5


def test_every_setting_of_a_system_reaches_the_pipeline(folder: Path) -> None:
    system = System(
        "student",
        folder / "pipeline",
        4,
        folder / "students" / "4step" / "unet",
        timestep_spacing="leading",
        prediction_type="sample",
    )
    pipeline = system.load()
    assert pipeline.scheduler.config.timestep_spacing == "leading"
    assert pipeline.scheduler.config.prediction_type == "sample"
    ancestral = replace(system, prediction_type="epsilon", solver="euler_ancestral").load()
    assert type(ancestral.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    laid_over = random_unet(1).half().float().conv_out.weight
    torch.testing.assert_close(pipeline.unet.conv_out.weight, laid_over)


class Interrupted(Rendering):
    """A source that is interrupted, as by Ctrl-C, in its second chunk."""

    def open(self, device: torch.device) -> Paint:
        paint = super().open(device)

        def interrupted(first: int, prompts: Sequence[Prompt]) -> Pixels:
            if first == CHUNK:
                signal.raise_signal(signal.SIGINT)
            return paint(first, prompts)

        return interrupted


def test_pictures_are_made_once_and_made_anew_when_the_weights_change(
    folder: Path, prompts: tuple[Prompt, ...], tmp_path: Path
) -> None:
    before, made = signal.getsignal(signal.SIGINT), PictureSet(tmp_path / "set", Interrupted(0))
    count = 4 * CHUNK
    assert not made.prepare(prompts)
    try:
        fill(ALONE, [made], prompts[:count])
        assert made.missing(count) == [2, 3]
        written = made.chunk(0).stat().st_mtime_ns
        fill(ALONE, [PictureSet(made.folder, Rendering(0))], prompts[:count])
    finally:
        signal.signal(signal.SIGINT, before)
    assert made.chunk(0).stat().st_mtime_ns == written
    np.testing.assert_array_equal(made.load(count), rendered(prompts[:count], 0))

    pipeline = tmp_path / "pipeline"
    shutil.copytree(folder / "pipeline", pipeline)
    sampled = PictureSet(tmp_path / "sampled", Sampling(System("teacher", pipeline, 1)))
    assert not sampled.prepare(prompts)
    assert not sampled.prepare(prompts)
    random_unet(7).half().save_pretrained(pipeline / "unet")
    assert sampled.prepare(prompts)
    (sampled.folder / "set.json").unlink()  # as an interrupted removal may leave it
    assert sampled.prepare(prompts)


def test_what_does_not_exist_is_left_out_with_its_reason(folder: Path) -> None:
    systems = usual_systems(folder / "pipeline", folder / "students", guidance_scale=2)
    found, missing = available(systems)
    assert set(missing) == {"student, 8 steps", "student, 2 steps", "student, 1 step"}
    assert "8step" in missing["student, 8 steps"]
    assert {s.timestep_spacing for s in found} == {"trailing", "leading", "linspace"}
    with pytest.raises(FileNotFoundError, match="leyden-train export"):
        available(usual_systems(folder / "nowhere", folder / "students", guidance_scale=2))


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["leyden-train", *map(str, arguments)])
    return cli.main()


def test_whole_evaluation(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(folder, tmp_path / "runs")
    shutil.copytree(folder / "students" / "4step", folder / "students" / "2step")
    out = folder / "docs"
    out.mkdir()
    (out / "distillation.md").write_text("# Of our own\n\nKept.\n")
    arguments = [
        *("--folder", folder, "--workers", 1, "evaluate", folder / "pipeline"),
        *("--pictures", 16, "--draws", 50, "--speed-rounds", 1),
        *("--report", out, "--ablation", f"none={folder / 'students' / '2step'}"),
    ]
    random_unet(2).half().save_pretrained(folder / "ablation" / "without-conditional" / "unet")
    assert run_cli(monkeypatch, *arguments) == 0
    assert "student, 8 steps: left out" in capsys.readouterr().out

    result = json.loads((out / "data" / "distillation.json").read_text())
    names = [row["name"] for row in result["systems"]]
    assert names[:5] == [
        "teacher, 50 steps",
        "teacher, 25 steps",
        "teacher, 4 steps",
        "teacher, 4 steps, unguided",
        "student, 4 steps",
    ]
    over_full = {row["name"]: row["over_full"] for row in result["systems"] if "over_full" in row}
    assert list(over_full) == [
        "student, 2 steps",
        "ablation: without-conditional",
        "ablation: none",
    ]
    for name in ("student, 2 steps", "ablation: none"):  # the same weights
        assert over_full[name]["frechet"]["estimate"] == pytest.approx(1)
    other = over_full["ablation: without-conditional"]["frechet"]
    assert other["estimate"] != pytest.approx(1, rel=1e-3)
    for row in result["systems"]:
        for figure in (row["frechet"], row["adherence"][OVERALL], row["two_sample"]):
            assert figure["low"] <= figure["estimate"] <= figure["high"], row["name"]
    assert result["systems"][0]["frechet_ratio"]["estimate"] == pytest.approx(1)
    faster = {row["system"]: row["times_faster"]["estimate"] for row in result["speed"]}
    assert faster["teacher, 50 steps"] == 1
    assert faster["student, 4 steps"] > 2
    assert str(folder) not in json.dumps(result)

    page = (out / "distillation.md").read_text()
    assert page.startswith("# Of our own\n\nKept.\n")
    worth = page.partition("## What each loss is worth")[2].partition("## Wall time")[0]
    rows = re.findall(r"^\| ([^|]+) \|", worth, flags=re.MULTILINE)
    assert rows == ["student", "---", *over_full]
    for image in re.findall(r"\]\((images/[^)]+)\)", page):
        assert (out / image).stat().st_size > 1000
    assert len(re.findall(r"\| student, 4 steps \|", page)) >= 4

    made = sorted(
        file
        for kind in ("pictures/*/*.npy", "statistics/*.npz", "two-sample/*.json")
        for file in (folder / "evaluation").glob(kind)
    )
    assert {file.suffix for file in made} == {".npy", ".npz", ".json"}
    written = [file.stat().st_mtime_ns for file in made]
    assert run_cli(monkeypatch, *arguments) == 0
    assert [file.stat().st_mtime_ns for file in made] == written
    assert (out / "distillation.md").read_text().count("evaluation: begin") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pictures", "12"), "pictures: 12 is not a multiple of 8"),
        (("--ablation", "none"), "'none' is not NAME=FOLDER"),
    ],
)
def test_bad_arguments_are_named(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_cli(monkeypatch, "--folder", folder, "evaluate", folder / "pipeline", *arguments)
    assert said in f"{stopped.value}{capsys.readouterr().err}"


def test_a_missing_stage_is_named(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert run_cli(monkeypatch, "--folder", tmp_path, "evaluate", folder / "pipeline") == 2
    assert "leyden-train classifier" in capsys.readouterr().err
