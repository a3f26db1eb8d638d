"""Model folders with an entry of a test's own, and with changed configs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from leyden_server.denoiser.unet_weights import load_unet
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository, ResolvedModel


def entry(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    return folder


def resolve(folder: Path) -> ResolvedModel:
    return ModelRepository([folder]).resolve(folder.name)


def refused(folder: Path, *said: str) -> None:
    """Assert that a folder's model is refused, in words among which are these."""
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(folder)
    for text in said:
        assert text in str(caught.value)


def revision(model: ResolvedModel) -> str:
    """Return the digest that loading the UNet gives."""
    return load_unet(model, torch.float32).revision


def rewrite_scheduler(folder: Path, **changes: Any) -> Path:
    """Change a folder's scheduler, its class in the index too; return its config's path."""
    path = folder / "scheduler" / "scheduler_config.json"
    rewrite_json(path, **changes)
    if "_class_name" in changes:
        rewrite_json(folder / "model_index.json", scheduler=["diffusers", changes["_class_name"]])
    return path


def rewrite_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file (None removes one) without touching what it is linked to."""
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.unlink()
    kept = {key: value for key, value in data.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
