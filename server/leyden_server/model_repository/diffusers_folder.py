"""Reads the configs of a diffusers SDXL folder, and says what it lacks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leyden_server.checkpoint.fields import BOOKKEEPING, Fields, one_of, read_json, used
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.needed_files import NeededFiles

__all__ = ["DiffusersFolder", "files_in"]


COMPONENTS = (
    "scheduler",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "unet",
    "vae",
)
INDEX = Fields(
    "a StableDiffusionXLPipeline",
    {
        **{name: used(list, [], what="a library and a class") for name in COMPONENTS},
        "force_zeros_for_empty_prompt": used(bool, True),
        "requires_aesthetics_score": one_of(False, None),
        # For image prompts, which are not served; a pipeline has them by name alone.
        "feature_extractor": one_of(None, [None, None]),
        "image_encoder": one_of(None, [None, None]),
    },
    (*BOOKKEEPING, "add_watermarker"),
)


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
        index = read_json(path / "model_index.json")
        _check_pipeline(index, path)
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
            scheduler=read_json(path / "scheduler" / "scheduler_config.json"),
            unet=read_json(path / "unet" / "config.json"),
            vae=read_json(path / "vae" / "config.json"),
            text_encoder=read_json(path / "text_encoder" / "config.json"),
        )

    @property
    def vae_scale_factor(self) -> int:
        """Pixels a latent's side stands for."""
        path = self.path / "vae" / "config.json"
        blocks = _require(self.vae, "block_out_channels", path)
        if not isinstance(blocks, list) or not blocks:
            raise ModelRepositoryError(f"{path}: block_out_channels: a list; got {blocks!r}")
        return int(2 ** (len(blocks) - 1))

    @property
    def native_size_px(self) -> tuple[int, int]:
        """Native (width, height) in pixels, from the UNet's sample_size."""
        path = self.path / "unet" / "config.json"
        sides = _require(self.unet, "sample_size", path)
        height, width = sides if isinstance(sides, list) and len(sides) == 2 else (sides, sides)
        for side in (height, width):
            _check_count(side, "sample_size", path)
        return width * self.vae_scale_factor, height * self.vae_scale_factor

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        path = self.path / "vae" / "config.json"
        return _check_count(_require(self.vae, "latent_channels", path), "latent_channels", path)

    @property
    def max_prompt_tokens(self) -> int:
        """Length of the text encoders' input, start and end included."""
        path = self.path / "text_encoder" / "config.json"
        key = "max_position_embeddings"
        return _check_count(_require(self.text_encoder, key, path), key, path)


def _check_pipeline(index: dict[str, Any], path: Path) -> None:
    pipeline = index.get("_class_name")
    if pipeline == "StableDiffusionXLInpaintPipeline":
        raise ModelRepositoryError(
            f"{path}: is a StableDiffusionXLInpaintPipeline, an inpainting model; Leyden serves "
            "text to image"
        )
    if pipeline not in {"StableDiffusionXLPipeline", "StableDiffusionXLImg2ImgPipeline"}:
        raise ModelRepositoryError(f"{path}: is a {pipeline}, not a StableDiffusionXLPipeline")
    if index.get("requires_aesthetics_score") or index.get("text_encoder") == [None, None]:
        raise ModelRepositoryError(
            f"{path}: is SDXL's refiner, which has no first text encoder; Leyden serves the base "
            "and what is made from it"
        )
    INDEX.check(index, path / "model_index.json")


def files_in(folder: Path) -> set[str]:
    """Return the paths of all files in `folder` and in its folders, relative to it."""
    found = (*folder.glob("*"), *folder.glob("*/*"))
    return {file.relative_to(folder).as_posix() for file in found if file.is_file()}


def _require(config: dict[str, Any], key: str, path: Path) -> Any:
    if config.get(key) is None:
        raise ModelRepositoryError(f"{path}: has no {key!r}")
    return config[key]


def _check_count(value: Any, key: str, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelRepositoryError(f"{path}: {key}: a whole number from 1; got {value!r}")
    return value
