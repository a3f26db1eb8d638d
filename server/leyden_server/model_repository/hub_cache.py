"""What the local hub cache holds. Nothing here reaches for the network."""

from pathlib import Path

from leyden_server.model_repository.sources import FileSource, FolderSource

__all__ = ["cached_file", "cached_folder", "repository_folder"]


def repository_folder(repo: str) -> Path:
    """Return where the cache keeps a hub repository, whether or not it does."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")


def cached_folder(source: FolderSource) -> Path | None:
    """Return the snapshot of a hub repository, whole or in part; None where there is none."""
    repository = repository_folder(source.repo)
    reference = repository / "refs" / source.revision
    commit = reference.read_text(encoding="utf-8") if reference.is_file() else source.revision
    snapshot = repository / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def cached_file(source: FileSource) -> Path | None:
    """Return a file of a hub repository; None where it is not in the cache."""
    folder = cached_folder(source)
    file = None if folder is None else folder / source.file
    return file if file is not None and file.is_file() else None
