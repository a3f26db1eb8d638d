"""Which models of a Serve config share a stage, by what their entries say; no file is looked at.

So the same settings give the same applications on a laptop without weights and in a cluster.
`leyden serve`, which has the files at hand, also sees where a LoRA leaves the text encoders alone;
here a model with one shares its base's where its entry says `text_encoder: ignore`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leyden_server.model_repository import RepositoryItem
from leyden_server.model_repository.sources import FileSource, FolderSource

__all__ = ["StageOwners", "stage_owners"]


@dataclass(frozen=True, slots=True)
class StageOwners:
    """By stage, the model that an application is named after: the first of those that share it."""

    text_encoder: str
    denoiser: str
    vae: str


def stage_owners(items: Sequence[RepositoryItem]) -> Mapping[str, StageOwners]:
    """Return the owners of each model's stages, by its name, in the order given."""
    encoders: dict[tuple[object, ...], str] = {}
    vaes: dict[tuple[object, ...], str] = {}
    return {
        item.name: StageOwners(
            text_encoder=encoders.setdefault(_encoders_of(item), item.name),
            denoiser=item.name,
            vae=vaes.setdefault(_vae_of(item), item.name),
        )
        for item in items
    }


def _base_of(item: RepositoryItem) -> tuple[object, ...]:
    entry = item.entry
    return _place(item, entry.base), entry.variant, _place(item, entry.single_file)


def _encoders_of(item: RepositoryItem) -> tuple[object, ...]:
    entry = item.entry
    loras = [
        (_place(item, lora), lora.scale) for lora in entry.lora if lora.text_encoder == "apply"
    ]
    tokens = [(_place(item, learned), learned.token) for learned in entry.embeddings]
    return *_base_of(item), *loras, *tokens


def _vae_of(item: RepositoryItem) -> tuple[object, ...]:
    return *_base_of(item), _place(item, item.entry.vae)


def _place(item: RepositoryItem, source: FolderSource | None) -> tuple[str, ...]:
    """Return where a file or folder is; empty: there is none."""
    if source is None:
        return ()
    if source.path:
        return (str((item.folder / source.path).resolve()),)
    file = source.file if isinstance(source, FileSource) else ""
    return source.repo, source.revision, file
