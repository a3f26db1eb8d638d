"""One tiny teacher and its latents for all tests of distillation and of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.tiny_training import signals_given_back, write_latents, write_pipeline


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, `latents` and the teacher `base`; tests read it only."""
    folder = tmp_path_factory.mktemp("tiny")
    latents = write_latents(folder)
    write_pipeline(folder / "base", latents / "vae")
    return folder


@pytest.fixture
def alone() -> Iterator[None]:
    """Training in this process: one thread, and the signals' handlers given back."""
    torch.set_num_threads(1)
    with signals_given_back():
        yield
