"""Reads the configs of a diffusers SDXL folder, and says what it lacks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.needed_files import NeededFiles

__all__ = ["DiffusersFolder", "files_in"]


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
    def read(cls, path: Path, needed: NeededFiles) -> "DiffusersFolder":
        """Read all configs.

        Raises:
            ModelRepositoryError: files are missing (all are named) or malformed, or the pipeline
                is not SDXL.

        """
        # First, or a folder of another kind would be told of files that it never has.
        index = _read_json(path / "model_index.json")
        pipeline = index.get("_class_name")
        if pipeline not in {"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"}:
            raise ModelRepositoryError(f"{path}: is a {pipeline}, not a StableDiffusionXLPipeline")
        names = files_in(path)
        _, missing = needed.select(names)
        if missing:
            files = "; ".join(f"{path / name}: is missing" for name in missing)
            lacks_weights = any(name.endswith(".safetensors") for name in missing)
            hint = f" ({needed.hint(names)})" if lacks_weights else ""
            raise ModelRepositoryError(files + hint)
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


def files_in(folder: Path) -> set[str]:
    """Return the paths of all files in `folder` and in its folders, relative to it."""
    found = (*folder.glob("*"), *folder.glob("*/*"))
    return {file.relative_to(folder).as_posix() for file in found if file.is_file()}


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
