"""What the tests of training share: made once, read by all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.tiny_evaluation import write_run
from support.tiny_training import SIDE, signals_given_back, write_latents, write_pipeline

from leyden_training.evaluation.classifier import AttributeClassifier, load_classifier
from leyden_training.evaluation.prompts import Prompt, held_out_prompts


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, `latents` and the teacher `base`; tests read it only."""
    folder = tmp_path_factory.mktemp("tiny")
    latents = write_latents(folder)
    write_pipeline(folder / "base", latents / "vae")
    return folder


@pytest.fixture(scope="session")
def tiny_evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, its classifier, a teacher and a 4-step student; read it only."""
    torch.set_num_threads(1)
    with signals_given_back():
        return write_run(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture
def classifier(tiny_evaluation: Path) -> AttributeClassifier:
    """The classifier of `tiny_evaluation`."""
    return load_classifier(tiny_evaluation / "classifier")


@pytest.fixture(scope="session")
def prompts(tiny_evaluation: Path) -> tuple[Prompt, ...]:
    """64 held-out prompts."""
    return held_out_prompts(64, SIDE, tiny_evaluation / "data")


@pytest.fixture
def alone() -> Iterator[None]:
    """Training in this process: one thread, and the signals' handlers given back."""
    torch.set_num_threads(1)
    with signals_given_back():
        yield
