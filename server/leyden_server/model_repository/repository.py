"""Finds the entries, and resolves those that are to be loaded."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.entry import ModelEntry
from leyden_server.model_repository.item import MODEL_FILE, SHIPPED_MODELS, RepositoryItem
from leyden_server.model_repository.paths import without_folders
from leyden_server.model_repository.resolve import resolve
from leyden_server.model_repository.resolved import ResolvedModel

__all__ = ["SHIPPED_MODELS", "BrokenItem", "ModelRepository", "RepositoryItem"]

INDEX_FILE = "model_index.json"


@dataclass(frozen=True, slots=True)
class BrokenItem:
    """A folder whose `model.yaml` is wrong: it is listed, and cannot be loaded."""

    name: str
    folder: Path
    error: ModelRepositoryError
    """Names the file and every wrong key."""


class ModelRepository:
    """All entries of the shipped folder and of the user's, by name.

    A folder of the user's is either a model itself (it has a `model.yaml` or a
    `model_index.json`) or a folder of such folders. A model's name is its folder's.

    `items` are the entries that could be read, `broken` those that could not: a wrong
    `model.yaml` is the error of whoever asks for that model, and of nobody else.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Read every entry; weights are not looked at.

        Raises:
            ModelRepositoryError: a folder is missing, cannot be read or has no model in it, or two
                entries have one name.

        """
        self.items: dict[str, RepositoryItem] = {}
        self.broken: dict[str, BrokenItem] = {}
        self._folders = tuple(folder.resolve() for folder in (SHIPPED_MODELS, *folders))
        for folder in self._folders:
            found = list(_models_in(folder))
            if not found:
                raise ModelRepositoryError(
                    f"{folder}: has no model: neither it nor a folder in it has a "
                    f"{MODEL_FILE} or {INDEX_FILE}"
                )
            for item in found:
                other = self.items.get(item.name) or self.broken.get(item.name)
                if other is not None:
                    raise ModelRepositoryError(f"{item.folder}: {other.folder} has the same name")
                if isinstance(item, BrokenItem):
                    self.broken[item.name] = item
                else:
                    self.items[item.name] = item

    @property
    def names(self) -> list[str]:
        """All names, of the broken ones too, in order."""
        return sorted({*self.items, *self.broken})

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where entries are looked for: the shipped folder, then the user's."""
        return self._folders

    def resolve(self, name: str) -> ResolvedModel:
        """Read the configs of one model and check that its weight files are there.

        Raises:
            ModelRepositoryError: there is no such entry, it is malformed, or something that it
                needs is missing.

        """
        return resolve(self.item(name))

    def item(self, name: str) -> RepositoryItem:
        """Return an entry.

        Raises:
            ModelRepositoryError: there is no such entry, or it is malformed.

        """
        if name in self.broken:
            raise self.broken[name].error
        item = self.items.get(name)
        if item is None:
            near = get_close_matches(name, self.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ModelRepositoryError(
                f"no model {name!r}{hint} The repository has {', '.join(self.names)}"
            )
        return item

    def for_clients(self, error: ModelRepositoryError) -> str:
        """Return an error's text as a client may read it: files without the server's folders.

        A file below a repository folder is named from there on, any other by its name alone.
        """
        return without_folders(str(error), self._folders)


def _models_in(folder: Path) -> Iterable[RepositoryItem | BrokenItem]:
    if not folder.is_dir():
        raise ModelRepositoryError(f"{folder}: is not a folder")
    try:
        candidates = [folder] if _is_model(folder) else sorted(folder.iterdir())
    except OSError as error:
        raise ModelRepositoryError(f"{folder}: cannot be read: {error.strerror}") from error
    for candidate in candidates:
        try:
            if _is_model(candidate):
                yield RepositoryItem(candidate.name, candidate, _read_entry(candidate))
        except ModelRepositoryError as error:
            yield BrokenItem(candidate.name, candidate, error)
        except OSError:
            # Of a folder that we may not look into, such as lost+found, nobody said that it
            # is a model.
            continue


def _is_model(folder: Path) -> bool:
    return (folder / MODEL_FILE).is_file() or (folder / INDEX_FILE).is_file()


def _read_entry(folder: Path) -> ModelEntry:
    if (folder / MODEL_FILE).is_file():
        return ModelEntry.from_yaml(folder / MODEL_FILE, ModelRepositoryError)
    return ModelEntry(description="A diffusers SDXL folder without a model.yaml.")
