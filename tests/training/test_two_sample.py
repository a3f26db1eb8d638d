"""The two-sample test on rendered pictures and on statistics of known make."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from leyden_training.data.dataset import render_dataset
from leyden_training.evaluation.classifier import AttributeClassifier
from leyden_training.evaluation.comparisons import Comparison
from leyden_training.evaluation.intervals import Floats, Interval, resamples
from leyden_training.evaluation.pictures import PictureSet, Pixels, Rendering
from leyden_training.evaluation.prompts import Prompt, held_out_prompts, traits
from leyden_training.evaluation.statistics import Description, statistics
from leyden_training.evaluation.two_sample import (
    REPEATS,
    answers,
    side_by_side,
    singly,
)

CPU = torch.device("cpu")
SIDE = 64


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prompt, ...]:
    data = tmp_path_factory.mktemp("data")
    render_dataset(data, count=1, seed=0, workers=1, size_buckets={(SIDE, SIDE): 1.0})
    return held_out_prompts(64, SIDE, data)


@pytest.fixture(scope="module")
def classifier() -> AttributeClassifier:
    torch.manual_seed(0)
    return AttributeClassifier().eval()


@pytest.fixture(scope="module")
def sets(prompts: tuple[Prompt, ...]) -> list[Pixels]:
    """Four sets of pictures of the same scenes."""
    return [rendered(prompts, number) for number in range(4)]


def rendered(prompts: Sequence[Prompt], number: int) -> Pixels:
    return Rendering(number).open(CPU)(0, prompts)


def told(first: Floats, second: Floats, known: Floats) -> tuple[Interval, Interval]:
    logits = answers(first, second, known)
    draws = resamples(len(first), 500)
    return singly(logits, draws).interval(), side_by_side(logits, draws).interval()


def test_two_sets_of_one_source_cannot_be_told_apart(
    classifier: AttributeClassifier, prompts: tuple[Prompt, ...], sets: list[Pixels]
) -> None:
    """Within the interval in most of three tests; 95% intervals may miss one."""
    described = [statistics(classifier, pictures) for pictures in sets]
    found = [told(a, b, traits(prompts)) for a, b in pairwise(described)]
    assert sum(alone.low <= 0.5 <= alone.high for alone, _ in found) >= 2
    assert sum(together.low <= 0.5 <= together.high for _, together in found) >= 2
    assert abs(np.mean([alone.estimate for alone, _ in found]) - 0.5) < 0.07


def test_sets_that_differ_can_be_told_apart(
    classifier: AttributeClassifier, prompts: tuple[Prompt, ...], sets: list[Pixels]
) -> None:
    """The same scenes with noise in every pixel, and softer."""
    first, second = sets[:2]
    noise = np.random.default_rng(0).normal(scale=16, size=second.shape)
    noisy = (second + noise).round().clip(0, 255).astype(np.uint8)
    channels_first = torch.from_numpy(second).permute(0, 3, 1, 2).float()
    soft = F.avg_pool2d(F.pad(channels_first, (1, 0, 1, 0), mode="replicate"), 2, stride=1)
    for changed in (noisy, soft.round().byte().permute(0, 2, 3, 1).numpy()):
        described = [statistics(classifier, pictures) for pictures in (first, changed)]
        for found in told(described[0], described[1], traits(prompts)):
            assert found.estimate > 0.9


def test_what_the_prompt_explains_does_not_hide_the_difference() -> None:
    """A statistic that a prompt decides to 20 times the difference between the systems."""
    random = np.random.default_rng(0)
    known = np.eye(4)[random.integers(4, size=200)]
    scene = known @ random.normal(scale=20, size=(4, 3))
    first, second = (scene + random.normal(size=(200, 3)) for _ in range(2))
    second[:, 0] += 4
    alone, _ = told(first, second, known)
    unaware, _ = told(first, second, np.zeros((200, 1)))
    assert alone.low > 0.9
    assert unaware.high < alone.low


def test_statistics_do_not_depend_on_the_other_pictures(
    classifier: AttributeClassifier, sets: list[Pixels]
) -> None:
    pictures = sets[0][:40]
    whole, single = statistics(classifier, pictures), statistics(classifier, pictures[35:36])
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(whole[35:36], single, rtol=1e-3, atol=1e-3)


def test_an_answer_is_asked_for_anew_when_pictures_or_classifier_change(
    classifier: AttributeClassifier,
    prompts: tuple[Prompt, ...],
    sets: list[Pixels],
    tmp_path: Path,
) -> None:
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    few = prompts[:16]
    described = []
    for number in range(2):
        made = PictureSet(tmp_path / f"set-{number}", Rendering(number))
        made.prepare(few)
        for chunk in (0, 1):
            made.write(chunk, sets[number][8 * chunk :][:8])
        described.append(Description(tmp_path / f"{number}.npz", made, 16, tmp_path))
    comparison = Comparison(tmp_path / "answers.json", described[0], described[1], traits(few))
    assert all(description.missing() for description in described)
    for description in described:
        description.make(CPU)
    assert comparison.missing()
    comparison.ask()
    assert not any(description.missing() for description in described)
    assert not comparison.missing()
    assert comparison.logits().shape == (REPEATS, 16, 2)

    described[0].pictures.folder.joinpath("set.json").write_text("of other weights")
    assert [description.missing() for description in described] == [True, False]
    assert comparison.missing()
    described[0].make(CPU)
    comparison.ask()
    assert not comparison.missing()
    with torch.no_grad():
        classifier.heads[0].bias.add_(1)  # type: ignore[operator]
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    assert all(description.missing() for description in described)
    assert comparison.missing()
