"""Fetches files of the hub into the hub cache: goes on where it was interrupted, and checks.

huggingface_hub 2 begins a file anew in each process, and does not check its hash. Weights of
5 GB deserve both, so the transfer and the check are ours; the cache's layout, its locks, the
requests' headers and errors are the library's.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from leyden_server.errors import HubError
from leyden_server.model_repository.hub_cache import repository_folder
from leyden_server.model_repository.hub_listing import HubFile, HubSnapshot, hub_errors

__all__ = ["BytesListener", "check_room", "fetch", "publish", "received_bytes"]

BytesListener = Callable[[int], None]
"""Told of bytes that came; a negative number takes back what has to come again."""

CHUNK_BYTES = 1 << 20
FRUITLESS_ATTEMPTS = 3
"""A transfer that breaks so often, without a byte in between, has failed."""


def fetch(file: HubFile, on_bytes: BytesListener, on_check: Callable[[], None]) -> None:
    """Bring one file into the cache. What an interrupted call received is kept and used.

    Raises:
        HubError: the hub cannot be reached or refuses, or the bytes are not those it announced.

    """
    from huggingface_hub import hf_hub_download

    if file.cached_at.is_file() and not file.is_cached:
        file.cached_at.resolve().unlink(missing_ok=True)
        file.cached_at.unlink(missing_ok=True)
    blob = _blob(file)
    with hub_errors(file.repo, file.commit):
        with _locked(file):
            if blob.is_file():
                on_bytes(file.size_bytes)
            else:
                partial = _partial(file)
                _transfer(file, partial, on_bytes)
                on_check()
                _check(file, partial)
                partial.replace(blob)
        # All bytes are here: this makes the snapshot's link to them.
        hf_hub_download(file.repo, file.name, revision=file.commit)


def publish(snapshot: HubSnapshot) -> None:
    """Let the snapshot's revision stand for its commit, now that all its files are there."""
    if snapshot.revision != snapshot.commit:
        reference = repository_folder(snapshot.repo) / "refs" / snapshot.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(snapshot.commit, encoding="utf-8")


def received_bytes(file: HubFile) -> int:
    """Return how much of a file an interrupted `fetch` has left."""
    partial = _partial(file)
    return partial.stat().st_size if partial.is_file() else 0


def check_room(size_bytes: int) -> None:
    """Raise HubError where the cache's disk has not that much room."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if free < size_bytes:
        raise HubError(
            f"{cache} has room for {free / 1e9:.1f} GB, and {size_bytes / 1e9:.1f} GB are needed; "
            "set HF_HUB_CACHE to a folder on another disk"
        )


def _blob(file: HubFile) -> Path:
    # By what the hub gives as ETag, so that huggingface_hub finds it.
    return repository_folder(file.repo) / "blobs" / (file.sha256 or file.git_sha1)


def _partial(file: HubFile) -> Path:
    blob = _blob(file)
    return blob.with_name(f"{blob.name}.incomplete")


@contextmanager
def _locked(file: HubFile) -> Iterator[None]:
    """Keep other processes from fetching the same file; they wait."""
    from huggingface_hub.utils import WeakFileLock

    folder, blob = repository_folder(file.repo), _blob(file)
    lock = folder.parent / ".locks" / folder.name / f"{blob.name}.lock"
    for parent in (lock.parent, blob.parent):
        parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        yield


def _transfer(file: HubFile, partial: Path, on_bytes: BytesListener) -> None:
    if partial.is_file() and partial.stat().st_size > file.size_bytes:
        on_bytes(-partial.stat().st_size)
        partial.unlink()
    partial.touch()
    fruitless = 0
    while (before := partial.stat().st_size) < file.size_bytes:
        try:
            _append(file, partial, on_bytes)
        except httpx2.TransportError:
            fruitless = fruitless + 1 if partial.stat().st_size == before else 0
            if fruitless == FRUITLESS_ATTEMPTS:
                raise
        else:
            if partial.stat().st_size == before:
                raise _corrupt(file, partial, f"ends after {before} of {file.size_bytes} bytes")


def _append(file: HubFile, partial: Path, on_bytes: BytesListener) -> None:
    """Ask for the bytes that `partial` lacks, and append what comes."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    have = partial.stat().st_size
    # Bytes as they are: a compressed answer has no range.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    url = hf_hub_url(file.repo, file.name, revision=file.commit)
    # Connections that break are this module's to mend, since it knows what has come.
    request = http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
    )
    with request as response, partial.open("ab") as stream:
        hf_raise_for_status(response)
        if have and response.status_code != httpx2.codes.PARTIAL_CONTENT:
            stream.truncate(0)
            on_bytes(-have)
        for chunk in response.iter_bytes(CHUNK_BYTES):
            stream.write(chunk)
            on_bytes(len(chunk))


def _check(file: HubFile, partial: Path) -> None:
    size = partial.stat().st_size
    if size != file.size_bytes:
        raise _corrupt(file, partial, f"has {size} bytes, not {file.size_bytes}")
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(usedforsecurity=False)
    if not file.sha256:  # a git blob's hash covers this header
        digest.update(b"blob %d\0" % size)
    with partial.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            digest.update(block)
    if digest.hexdigest() != (file.sha256 or file.git_sha1):
        raise _corrupt(file, partial, f"has the hash {digest.hexdigest()}, which is not the hub's")


def _corrupt(file: HubFile, partial: Path, what: str) -> HubError:
    partial.unlink()
    return HubError(
        f"{file.repo}/{file.name} as it was received {what}; it was thrown away. Pull again"
    )
