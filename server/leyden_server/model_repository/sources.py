"""Where the files of a model come from, as `model.yaml` says it: a local path, or the hub.

A plain string is a local path, relative to the `model.yaml`; a mapping with `repo` names a
repository of the Hugging Face hub, whose files are read from the local hub cache:

    base: ../leyden-tiny-base
    base: {repo: stabilityai/stable-diffusion-xl-base-1.0, revision: main}
    unet: {repo: ByteDance/SDXL-Lightning, file: sdxl_lightning_4step_unet.safetensors}
    lora: {path: ../my-lora.safetensors, scale: 0.8}
"""

from pathlib import PurePosixPath
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from leyden_server.strict_model import StrictModel

__all__ = ["EmbeddingSource", "FileSource", "FolderSource", "LoraSource"]

MAIN = "main"


class FolderSource(StrictModel):
    """A folder: a local path, or a hub repository."""

    path: str = ""
    """Local path, relative to the `model.yaml`."""

    repo: str = Field(default="", pattern=r"^$|^[\w][\w.-]*/[\w][\w.-]*$")
    """Hub repository, owner/name."""

    revision: str = Field(default=MAIN, min_length=1, pattern=r"^[\w./-]+$")
    """Commit hash, tag or branch of the hub repository."""

    @model_validator(mode="before")
    @classmethod
    def _a_string_is_a_path(cls, data: Any) -> Any:
        return {"path": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.path) == bool(self.repo):
            raise ValueError("either a path or a hub repo (owner/name), and not both")
        if self.path and self.revision != MAIN:
            raise ValueError("a revision belongs to a hub repo, not to a path")
        if ".." in self.revision:
            raise ValueError("a revision is a commit hash, a tag or a branch")
        return self


class FileSource(FolderSource):
    """A safetensors file: a local path, or a file in a hub repository."""

    file: str = ""
    """The file within the hub repository."""

    @model_validator(mode="after")
    def _a_safetensors_file(self) -> Self:
        if bool(self.repo) != bool(self.file):
            raise ValueError("a hub repo needs its file, and a file its hub repo")
        inside = PurePosixPath(self.file)
        if inside.is_absolute() or ".." in inside.parts:
            raise ValueError("the file must lie within the hub repo")
        if PurePosixPath(self.path or self.file).suffix != ".safetensors":
            raise ValueError("must be a .safetensors file; pickled weights are not loaded")
        return self


class LoraSource(FileSource):
    """A LoRA file, and how strongly it counts."""

    scale: float = Field(default=1.0, ge=-10, le=10)
    """Factor on what the LoRA adds; diffusers' `lora_scale`."""

    text_encoder: Literal["apply", "ignore"] = "apply"
    """What becomes of its layers for the text encoders: `apply` gives the model encoders of its
    own, `ignore` leaves them out, so that it shares its base's."""

    @field_validator("scale")
    @classmethod
    def _a_scale_that_counts(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a scale of 0 leaves the LoRA out; take it out of the list")
        return scale


class EmbeddingSource(FileSource):
    """A textual inversion, and the token that it is called by."""

    token: str = Field(min_length=1, max_length=100, pattern=r"^\S+$")
    """What stands for it in a prompt; a word of its own, such as <my-style>."""
