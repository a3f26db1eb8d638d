"""Whether a model's files are still those that it was loaded from."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from leyden_server.model_repository.resolved import TEXT_ENCODERS, ResolvedModel

__all__ = ["FileMarks", "file_marks"]

CONFIG_SUFFIXES = {".json", ".txt"}
ENCODING = (*TEXT_ENCODERS, "tokenizer", "tokenizer_2")


@dataclass(frozen=True, slots=True)
class FileMarks:
    """What tells the files of each stage from changed ones: names, sizes and times of change."""

    text_encoder: str
    denoiser: str
    """Of the UNet's files and of all that the model's entry says."""
    vae: str


def file_marks(model: ResolvedModel) -> FileMarks:
    """Look at the files of a model; contents are not read.

    A file that was put in the place of another with the same size and the same time of change,
    as `cp -p` does, is not told from it.
    """
    encoder_loras = [lora.file for lora in model.loras_of(*TEXT_ENCODERS)]
    embeddings = [learned.file for learned in model.embeddings]
    return FileMarks(
        text_encoder=_mark(
            [*_files_of(model, TEXT_ENCODERS, ENCODING), *encoder_loras, *embeddings]
        ),
        denoiser=_mark(
            [
                *_files_of(model, ("unet",), ("unet", "scheduler", "")),
                *(() if model.unet_file is None else (model.unet_file,)),
                *(lora.file for lora in model.loras_of("unet")),
            ],
            repr(model),
        ),
        vae=_mark(
            [
                *_files_of(model, ("vae",), ("vae",)),
                *(() if model.vae_file is None else (model.vae_file,)),
            ]
        ),
    )


def _files_of(model: ResolvedModel, parts: Iterable[str], folders: Iterable[str]) -> Iterable[Path]:
    """Yield the base's weights of `parts`, the single file, and the configs in `folders`."""
    for part in parts:
        yield from model.base_files.get(part, ())
    if model.single_file is not None:
        yield model.single_file
    for folder in folders:
        for file in (model.base_folder / folder).glob("*"):
            if file.suffix in CONFIG_SUFFIXES:
                yield file


def _mark(files: Iterable[Path], more: str = "") -> str:
    lines = [more]
    for file in sorted({*files}):
        try:
            stat = file.stat()
        except OSError:
            lines.append(f"{file} is missing")
        else:
            lines.append(f"{file} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
