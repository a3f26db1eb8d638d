"""Reads the configs of a diffusers SDXL folder, and says what it lacks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_server.errors import ModelRepositoryError

__all__ = ["DiffusersFolder"]

WEIGHT_STEMS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}


@dataclass(frozen=True, slots=True)
class DiffusersFolder:
    """The configs of one `StableDiffusionXLPipeline` folder."""

    path: Path
    model_index: dict[str, Any]
    scheduler: dict[str, Any]
    unet: dict[str, Any]
    vae: dict[str, Any]
    text_encoder: dict[str, Any]

    @classmethod
    def read(
        cls, path: Path, variant: str | None, *, needs_unet_weights: bool
    ) -> "DiffusersFolder":
        """Read all configs.

        Raises:
            ModelRepositoryError: a file is missing or malformed, the pipeline is not SDXL, or
                the weights are not safetensors.

        """
        index = _read_json(path / "model_index.json")
        pipeline = index.get("_class_name")
        if pipeline not in {"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"}:
            raise ModelRepositoryError(f"{path}: is a {pipeline}, not a StableDiffusionXLPipeline")
        for part, stem in WEIGHT_STEMS.items():
            if part != "unet" or needs_unet_weights:
                _require_safetensors(path / part, stem, variant)
        for part in ("tokenizer", "tokenizer_2"):
            if not (path / part).is_dir():
                raise ModelRepositoryError(f"{path / part}: is missing")
        return cls(
            path=path,
            model_index=index,
            scheduler=_read_json(path / "scheduler" / "scheduler_config.json"),
            unet=_read_json(path / "unet" / "config.json"),
            vae=_read_json(path / "vae" / "config.json"),
            text_encoder=_read_json(path / "text_encoder" / "config.json"),
        )

    @property
    def vae_scale_factor(self) -> int:
        """Pixels a latent's side stands for."""
        blocks = _require(self.vae, "block_out_channels", self.path / "vae" / "config.json")
        return int(2 ** (len(blocks) - 1))

    @property
    def native_size_px(self) -> tuple[int, int]:
        """Native (width, height) in pixels, from the UNet's sample_size."""
        sample_size = _require(self.unet, "sample_size", self.path / "unet" / "config.json")
        height, width = sample_size if isinstance(sample_size, list) else (sample_size,) * 2
        return int(width) * self.vae_scale_factor, int(height) * self.vae_scale_factor

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return int(_require(self.vae, "latent_channels", self.path / "vae" / "config.json"))

    @property
    def max_prompt_tokens(self) -> int:
        """Length of the text encoders' input, start and end included."""
        path = self.path / "text_encoder" / "config.json"
        return int(_require(self.text_encoder, "max_position_embeddings", path))


def _require(config: dict[str, Any], key: str, path: Path) -> Any:
    if config.get(key) is None:
        raise ModelRepositoryError(f"{path}: has no {key!r}")
    return config[key]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exception:
        raise ModelRepositoryError(f"{path}: {exception.strerror}") from exception
    except ValueError as exception:
        raise ModelRepositoryError(f"{path}: is not JSON: {exception}") from exception
    if not isinstance(data, dict):
        raise ModelRepositoryError(f"{path}: is not a JSON object")
    return data


def _require_safetensors(folder: Path, stem: str, variant: str | None) -> None:
    name = f"{stem}.{variant}" if variant else stem
    index = f"index.{variant}" if variant else "index"
    accepted = [f"{name}.safetensors", f"{stem}.safetensors.{index}.json"]
    if not any((folder / file).is_file() for file in accepted):
        others = sorted({f.name.split(".")[1] for f in folder.glob(f"{stem}.*.safetensors")})
        hint = f"; model.yaml may choose variant: {' or '.join(others)}" if others else ""
        raise ModelRepositoryError(
            f"{folder / accepted[0]}: is missing (weights are loaded from safetensors only{hint})"
        )
