"""Parts of a model out of an all-in-one checkpoint, by diffusers' `from_single_file`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.utils import logging

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ResolvedModel

__all__ = ["load_part", "load_text_encoders"]


def load_part(model: ResolvedModel, part_class: Any, part: str, dtype: torch.dtype) -> Any:
    """Load the UNet or the VAE; its shape is that of the base's config.

    Raises:
        ModelRepositoryError: the checkpoint does not fit the config.

    """
    with _fitting(model, part):
        module = part_class.from_single_file(
            str(model.single_file),
            config=str(model.base_folder),
            subfolder=part,
            dtype=dtype,
            local_files_only=True,
        )
    _require_complete(model, part, module)
    return module


def load_text_encoders(model: ResolvedModel, dtype: torch.dtype) -> tuple[Any, Any]:
    """Load both text encoders; their shapes are those of the base's configs.

    Raises:
        ModelRepositoryError: the checkpoint does not fit the configs.

    """
    logging.disable_progress_bar()
    with _fitting(model, "text encoders"):
        pipeline = StableDiffusionXLPipeline.from_single_file(
            str(model.single_file),
            config=str(model.base_folder),
            dtype=dtype,
            local_files_only=True,
            unet=None,
            vae=None,
            add_watermarker=False,
        )
    for part in ("text_encoder", "text_encoder_2"):
        _require_complete(model, part, getattr(pipeline, part))
    return pipeline.text_encoder, pipeline.text_encoder_2


@contextmanager
def _fitting(model: ResolvedModel, part: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as exception:
        # diffusers trips over what lacks in whatever way; it has no error of its own for it.
        raise _does_not_fit(model, part, f"{exception}"[:300]) from exception


def _require_complete(model: ResolvedModel, part: str, module: torch.nn.Module) -> None:
    # diffusers builds the part without memory, and leaves what the checkpoint lacks as it is.
    lacks = [name for name, tensor in module.state_dict().items() if tensor.is_meta]
    if lacks:
        raise _does_not_fit(model, part, f"it lacks {lacks[0]} and {len(lacks) - 1} more")


def _does_not_fit(model: ResolvedModel, part: str, why: str) -> ModelRepositoryError:
    name = model.single_file.name if model.single_file else ""
    return ModelRepositoryError(
        f"model {model.name!r}: {name} does not fit the {part} config of {model.base_folder}: {why}"
    )
