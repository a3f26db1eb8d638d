"""Finds the entries, and resolves those that are to be loaded."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.entry import ModelEntry
from leyden_server.model_repository.item import MODEL_FILE, SHIPPED_MODELS, RepositoryItem
from leyden_server.model_repository.resolve import resolve
from leyden_server.model_repository.resolved import ResolvedModel

__all__ = ["SHIPPED_MODELS", "ModelRepository", "RepositoryItem"]

INDEX_FILE = "model_index.json"


class ModelRepository:
    """All entries of the shipped folder and of the user's, by name.

    A folder of the user's is either a model itself (it has a `model.yaml` or a
    `model_index.json`) or a folder of such folders. A model's name is its folder's.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Read every entry; weights are not looked at.

        Raises:
            ModelRepositoryError: a folder is missing or has no model in it, an entry is malformed,
                or two have one name.

        """
        self.items: dict[str, RepositoryItem] = {}
        for folder in (SHIPPED_MODELS, *folders):
            found = list(_models_in(folder.resolve()))
            if not found:
                raise ModelRepositoryError(
                    f"{folder}: has no model: neither it nor a folder in it has a "
                    f"{MODEL_FILE} or {INDEX_FILE}"
                )
            for item in found:
                if item.name in self.items:
                    other = self.items[item.name].folder
                    raise ModelRepositoryError(f"{item.folder}: {other} has the same name")
                self.items[item.name] = item

    def resolve(self, name: str) -> ResolvedModel:
        """Read the configs of one model and check that its weight files are there.

        Raises:
            ModelRepositoryError: there is no such entry, or something that it needs is missing.

        """
        return resolve(self.item(name))

    def item(self, name: str) -> RepositoryItem:
        """Return an entry.

        Raises:
            ModelRepositoryError: there is no such entry.

        """
        item = self.items.get(name)
        if item is None:
            near = get_close_matches(name, self.items, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ModelRepositoryError(
                f"no model {name!r}{hint} The repository has {', '.join(sorted(self.items))}"
            )
        return item


def _models_in(folder: Path) -> Iterable[RepositoryItem]:
    if not folder.is_dir():
        raise ModelRepositoryError(f"{folder}: is not a folder")
    candidates = [folder] if _is_model(folder) else sorted(folder.iterdir())
    for candidate in candidates:
        if _is_model(candidate):
            yield RepositoryItem(candidate.name, candidate, _read_entry(candidate))


def _is_model(folder: Path) -> bool:
    return (folder / MODEL_FILE).is_file() or (folder / INDEX_FILE).is_file()


def _read_entry(folder: Path) -> ModelEntry:
    if (folder / MODEL_FILE).is_file():
        return ModelEntry.from_yaml(folder / MODEL_FILE, ModelRepositoryError)
    return ModelEntry(description="A diffusers SDXL folder without a model.yaml.")
