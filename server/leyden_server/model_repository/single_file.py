"""All-in-one checkpoints: one safetensors file in the original SDXL layout."""

from pathlib import Path

from leyden_server.errors import ModelRepositoryError

__all__ = ["check_single_file"]

ONE_KEY_OF_EACH = {
    "UNet": "model.diffusion_model.input_blocks.0.0.weight",
    "first text encoder": (
        "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight"
    ),
    "second text encoder": "conditioner.embedders.1.model.positional_embedding",
    "VAE": "first_stage_model.decoder.conv_in.weight",
}
"""Keys by which diffusers, too, knows the parts of an SDXL checkpoint."""


def check_single_file(file: Path) -> None:
    """Look at the names in a checkpoint; its tensors are not read.

    Raises:
        ModelRepositoryError: it is not a safetensors file, or not SDXL all in one.

    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as checkpoint:
            names = set(checkpoint.keys())
    except SafetensorError as error:
        raise ModelRepositoryError(f"{file}: is not a safetensors file: {error}") from error
    missing = [part for part, key in ONE_KEY_OF_EACH.items() if key not in names]
    if missing:
        raise ModelRepositoryError(
            f"{file}: is not an all-in-one SDXL checkpoint; it has no {', no '.join(missing)}"
        )
