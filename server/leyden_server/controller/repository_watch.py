"""The model repository as it is now, read again where something in it has changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from leyden_server.controller.models import build_catalog
from leyden_server.errors import ModelLoadError, ModelNotFoundError, ModelRepositoryError
from leyden_server.generations.catalog import MAX_NAME_CHARS, MAX_NAMES, CatalogEntry
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.model_repository.file_marks import FileMarks, file_marks
from leyden_server.model_repository.hub_cache import cached_folder

__all__ = ["RepositoryWatch"]

Marks = tuple[tuple[str, int, int], ...]


class RepositoryWatch:
    """Finds entries that were added, changed or removed. Blocks: for a thread.

    To look costs a few stats an entry; entries are read again only where one of them differs.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Take the folders of the config; nothing is read yet."""
        self._folders = tuple(folders)
        self._seen: Marks | None = None
        self._repository: ModelRepository | None = None

    def look(self) -> tuple[CatalogEntry, ...] | None:
        """Return the entries where they have changed since the last look; None: they have not.

        A repository that cannot be read, as while somebody works on it, has not changed.
        """
        if self._repository is not None and self._marks(self._repository) == self._seen:
            return None
        try:
            repository = ModelRepository(self._folders)
        except ModelRepositoryError:
            return None
        # Before the files are looked at: what changes meanwhile is seen by the next look.
        self._repository, self._seen = repository, self._marks(repository)
        return build_catalog((), repository)

    def resolve(self, name: str) -> tuple[ResolvedModel, FileMarks]:
        """Return a model as its files are now.

        Raises:
            ModelNotFoundError: there is no such model.
            ModelLoadError: something that it needs is missing or wrong.

        """
        try:
            repository = ModelRepository(self._folders)
        except ModelRepositoryError as error:
            raise ModelLoadError(name[:MAX_NAME_CHARS], self.for_clients(str(error))) from error
        self._repository = repository
        if name not in repository.names:
            raise ModelNotFoundError(name[:MAX_NAME_CHARS], tuple(repository.names[:MAX_NAMES]))
        try:
            model = repository.resolve(name)
        except ModelRepositoryError as error:
            raise ModelLoadError(name, repository.for_clients(error)) from error
        return model, file_marks(model)

    def require(self, name: str) -> None:
        """Raise ModelNotFoundError where the repository has no such model."""
        try:
            self.resolve(name)
        except ModelLoadError:
            return

    def for_clients(self, text: str) -> str:
        """Return a text without the server's folders."""
        if self._repository is None:
            return text
        return self._repository.for_clients(ModelRepositoryError(text))

    def _marks(self, repository: ModelRepository) -> Marks:
        return tuple(_mark(path) for path in self._looked_at(repository))

    def _looked_at(self, repository: ModelRepository) -> Iterator[Path]:
        """Yield the folders and entries whose times of change tell of any that came or went."""
        for root in repository.folders:
            yield root
            try:
                children = sorted(child for child in root.iterdir() if child.is_dir())
            except OSError:
                continue
            for folder in (root, *children):
                yield folder
                yield folder / "model.yaml"
                yield folder / "model_index.json"
                yield from _below(folder)
        for item in repository.items.values():
            for source in (item.entry.base, *item.files):
                cached = cached_folder(source) if source.repo else None
                if cached is not None:
                    yield cached
                    yield from _below(cached)


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if child.is_dir())
    except OSError:
        return []


def _mark(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), stat.st_size, stat.st_mtime_ns
