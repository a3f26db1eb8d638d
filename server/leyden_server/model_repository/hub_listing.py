"""What the hub has of the files that a model needs: asked of the hub, nothing is fetched."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from leyden_server.errors import HubError
from leyden_server.model_repository.hub_cache import repository_folder
from leyden_server.model_repository.item import RepositoryItem

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

__all__ = ["HubFile", "HubSnapshot", "hub_errors", "list_hub_files"]


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a hub repository at one commit, and what its bytes must come to."""

    repo: str
    commit: str
    name: str
    size_bytes: int
    sha256: str
    """Of the file's bytes; empty where the hub keeps the file in git."""
    git_sha1: str
    """Of the git blob: of the file itself where `sha256` is empty, else of a pointer to it."""

    @property
    def cached_at(self) -> Path:
        """Where the cache has it, once it does."""
        return repository_folder(self.repo) / "snapshots" / self.commit / self.name

    @property
    def is_cached(self) -> bool:
        """Whether the cache has it, in full length."""
        file = self.cached_at
        return file.is_file() and file.stat().st_size == self.size_bytes


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """The files that a model needs of one repository, at one commit."""

    repo: str
    revision: str
    """As the entry names it."""
    commit: str
    files: tuple[HubFile, ...]


def list_hub_files(item: RepositoryItem) -> list[HubSnapshot]:
    """Ask the hub for all files that a model needs of it.

    Raises:
        HubError: the hub cannot be reached, refuses, or has not what the model needs.

    """
    wanted: dict[tuple[str, str], list[str]] = {}
    for file in item.files:
        if file.repo:
            wanted.setdefault((file.repo, file.revision), []).append(file.file)
    base = item.entry.base
    if base.repo:
        wanted.setdefault((base.repo, base.revision), [])
    return [
        _snapshot(repo, revision, names, item if (repo, revision) == _place(item) else None)
        for (repo, revision), names in wanted.items()
    ]


@contextmanager
def hub_errors(repo: str, revision: str) -> Iterator[None]:
    """Turn what goes wrong with the hub into a HubError that says what to do about it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    log_in = "log in with 'hf auth login' or set HF_TOKEN"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubError(
            "HF_HUB_OFFLINE is set, so nothing can be fetched. Unset it, or copy the hub cache of "
            f"a machine that has {repo} to {constants.HF_HUB_CACHE}"
        ) from error
    except GatedRepoError as error:
        raise HubError(
            f"{repo} is gated: accept its terms at {hub}/{repo}, then {log_in}"
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{hub} has no repository {repo}, or it is private; for a private one {log_in}"
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{repo} has no revision {revision!r}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise HubError(f"{hub} answered {status} for {repo}; try again later") from error
    except (HFValidationError, LocalEntryNotFoundError) as error:
        raise HubError(f"{repo}: {error}") from error
    except httpx2.TransportError as error:
        raise HubError(
            f"cannot reach {hub} ({error or type(error).__name__}). Look after the connection, "
            "set HF_ENDPOINT to a mirror, or copy the hub cache of a machine that has "
            f"{repo} to {constants.HF_HUB_CACHE}"
        ) from error


def _place(item: RepositoryItem) -> tuple[str, str]:
    return item.entry.base.repo, item.entry.base.revision


def _snapshot(
    repo: str, revision: str, names: list[str], base_of: RepositoryItem | None
) -> HubSnapshot:
    from huggingface_hub import HfApi

    with hub_errors(repo, revision):
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    commit = info.sha or ""
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    missing = [name for name in names if name not in siblings]
    selected = [name for name in names if name in siblings]
    if base_of is not None:
        needed, absent = base_of.needed_of_base.select(siblings)
        selected += needed
        missing += absent
    if missing:
        raise HubError(f"{repo} at {revision} ({commit}) has no {', no '.join(missing)}")
    files = tuple(_hub_file(repo, commit, siblings[name]) for name in selected)
    return HubSnapshot(repo, revision, commit, files)


def _hub_file(repo: str, commit: str, sibling: "RepoSibling") -> HubFile:
    if sibling.size is None or (sibling.lfs is None and sibling.blob_id is None):
        raise HubError(f"{repo}: the hub tells neither size nor hash of {sibling.rfilename}")
    return HubFile(
        repo=repo,
        commit=commit,
        name=sibling.rfilename,
        size_bytes=sibling.size,
        sha256=sibling.lfs.sha256 if sibling.lfs is not None else "",
        git_sha1=sibling.blob_id or "",
    )
