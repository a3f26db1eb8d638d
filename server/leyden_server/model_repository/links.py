"""Keeps a model to its repository: a link must not lead out of it.

Whoever may write into a repository would else have a server read any file of its user's.
"""

from collections.abc import Sequence
from pathlib import Path

from leyden_server.errors import ModelRepositoryError

__all__ = ["check_links"]


def check_links(named: Path, folders: Sequence[Path]) -> None:
    """Check that `named`, where it is a link, leads into one of `folders` or its own.

    A path that `model.yaml` spells out may lead anywhere; a link may not.

    Raises:
        ModelRepositoryError: it leads elsewhere.

    """
    target = named.resolve()
    # Folders on the way may be links of the operator's: /models on another disk.
    inside = [named.parent.resolve(), *(folder.resolve() for folder in folders)]
    # A snapshot of the hub's cache is links into the blobs beside it.
    inside += [
        folder.parent.parent / "blobs" for folder in inside if folder.parent.name == "snapshots"
    ]
    if not any(target.is_relative_to(folder) for folder in inside):
        raise ModelRepositoryError(
            f"{named}: is a link out of the model repository, to {target}; put the file there, or "
            "name its own path in model.yaml"
        )
