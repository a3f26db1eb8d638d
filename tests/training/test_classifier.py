"""Held-out prompts, and the classifier that judges by them."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.tiny_evaluation import rendered
from support.tiny_training import ALONE, SIDE, assert_same_weights, checkpoint_of, stopped_in

from leyden_training.data.dataset import load_dataset, render_dataset
from leyden_training.data.scene import ATTRIBUTES
from leyden_training.evaluation.adherence import OVERALL, adherence
from leyden_training.evaluation.classifier import AttributeClassifier, judge, load_classifier
from leyden_training.evaluation.classifier_training import ClassifierSettings, train_classifier
from leyden_training.evaluation.intervals import resamples
from leyden_training.evaluation.prompts import (
    HELD_OUT_SEED,
    Prompt,
    held_out_prompts,
    stated,
    truth,
)

pytestmark = pytest.mark.usefixtures("alone")


def test_prompts_are_held_out_and_do_not_depend_on_their_number(
    tiny_evaluation: Path, prompts: tuple[Prompt, ...]
) -> None:
    dataset = load_dataset(tiny_evaluation / "data")
    seen = {c.text.lower() for b in dataset.buckets.values() for cs in b.captions for c in cs}
    assert not seen & {prompt.text.lower() for prompt in prompts}
    assert held_out_prompts(8, SIDE, tiny_evaluation / "data") == prompts[:8]


def test_a_data_set_of_the_held_out_seed_is_refused(tmp_path: Path) -> None:
    size = {(SIDE, SIDE): 1.0}
    render_dataset(tmp_path, count=1, seed=HELD_OUT_SEED, workers=1, size_buckets=size)
    with pytest.raises(ValueError, match=rf"seed {HELD_OUT_SEED}, which is kept"):
        held_out_prompts(8, SIDE, tmp_path)


def test_classifier_recovers_more_than_the_commonest_classes_would(
    tiny_evaluation: Path, classifier: AttributeClassifier, prompts: tuple[Prompt, ...]
) -> None:
    draws, wanted, said = resamples(len(prompts), 300), truth(prompts), stated(prompts)
    found = judge(classifier, rendered(prompts, 0)).classes
    bucket = load_dataset(tiny_evaluation / "data").buckets[SIDE, SIDE]
    commonest = [np.bincount(bucket.attributes[:, i]).argmax() for i in range(len(ATTRIBUTES))]
    guessed = np.tile(np.array(commonest, np.int64), (len(prompts), 1))
    shares = [adherence(classes, wanted, said, draws)[OVERALL] for classes in (found, guessed)]
    assert shares[0].interval().low > shares[1].interval().high

    told = json.loads((tiny_evaluation / "classifier" / "accuracy.json").read_text())
    assert list(told) == list(ATTRIBUTES)
    assert all(row["low"] <= row["estimate"] <= row["high"] for row in told.values())


def test_classifier_takes_any_aspect_and_judges_each_picture_alone(
    classifier: AttributeClassifier, prompts: tuple[Prompt, ...]
) -> None:
    pictures = rendered(prompts[:5], 0)
    whole, single = judge(classifier, pictures), judge(classifier, pictures[2:3])
    np.testing.assert_allclose(whole.features[2:3], single.features, rtol=1e-3, atol=1e-4)
    assert judge(classifier, pictures[:, 8:56]).features.shape == whole.features.shape


def test_stopped_and_resumed_is_the_same_as_uninterrupted(
    tiny_evaluation: Path, tmp_path: Path
) -> None:
    data, settings = tiny_evaluation / "data", ClassifierSettings(iterations=4, batch=8)
    train_classifier(ALONE, data, tmp_path / "whole", settings)
    train_classifier(stopped_in(update=2), data, tmp_path / "parts", settings)
    with pytest.raises(FileNotFoundError, match="leyden-train classifier"):
        load_classifier(tmp_path / "parts")
    assert checkpoint_of(tmp_path / "parts")["iteration"] == 2
    train_classifier(ALONE, data, tmp_path / "parts", settings)
    parts, whole = (load_classifier(tmp_path / run).state_dict() for run in ("parts", "whole"))
    assert_same_weights(parts, whole)
