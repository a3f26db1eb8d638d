"""A Hugging Face hub on loopback: what huggingface_hub asks of the real one, and its faults.

Repositories are folders. `*.safetensors` are kept as the hub keeps LFS files: by a redirect to
another host, with their SHA-256 as ETag; all others as git blobs.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from support.patience import PATIENCE_S

__all__ = ["Asked", "HubStandIn", "hub_stand_in"]


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    range: str
    authorization: str


@dataclass(frozen=True)
class Repository:
    """A folder as it was when it was added."""

    folder: Path
    gated: bool
    siblings: dict[str, dict[str, Any]]
    """By file name: how the hub describes it."""
    commit: str


@dataclass
class HubStandIn:
    """The stand-in's content, what it was asked, and what it is to do wrong."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """By file name: after how many bytes the next answers break off."""
    corrupted: set[str] = field(default_factory=set)
    """Names of files whose first byte is sent wrong."""
    holds: dict[str, int] = field(default_factory=dict)
    """By file name: after how many bytes an answer stops until `release` is set."""
    holding: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    status: int = 0
    """Where not 0: what every request is answered with."""

    def add(self, repo: str, folder: Path, *, gated: bool = False) -> str:
        """Offer a folder as a repository; returns its commit."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = {s["rfilename"]: s for s in (_sibling(folder, file) for file in files)}
        text = json.dumps(siblings)
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.repositories[repo] = Repository(folder, gated, siblings, commit)
        return commit

    def fetched(self, method: str = "GET") -> list[str]:
        """Return the names of the files that were asked for, in order."""
        names = (
            re.search(r"/resolve/[^/]+/(.+)", asked.path)
            for asked in self.asked
            if asked.method == method
        )
        return [name[1] for name in names if name]

    def ranges(self) -> list[str]:
        """Return the ranges that were asked for."""
        return [a.range for a in self.asked if a.method == "GET" and "/cdn/" in a.path and a.range]


@contextmanager
def hub_stand_in() -> Iterator[HubStandIn]:
    """Run a stand-in for the duration of the block."""
    hub = HubStandIn()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        del format, args

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        asked = Asked(
            self.command, path, headers.get("Range", ""), headers.get("Authorization", "")
        )
        self.hub.asked.append(asked)
        if self.hub.status:
            self._refuse(self.hub.status, "")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            self._send_file(self.hub.repositories[match[1]].folder / match[2])
        else:
            self._refuse(404, "")

    def _repository(self, repo: str, revision: str) -> Repository | None:
        repository = self.hub.repositories.get(repo)
        if repository is None:
            # As the hub answers who is not logged in: it does not say whether there is one.
            self._refuse(401, "RepoNotFound")
        elif revision not in {"main", repository.commit}:
            self._refuse(404, "RevisionNotFound")
        else:
            return repository
        return None

    def _describe(self, repo: str, revision: str) -> None:
        repository = self._repository(repo, revision)
        if repository is None:
            return
        siblings = list(repository.siblings.values())
        told = {"id": repo, "modelId": repo, "sha": repository.commit, "siblings": siblings}
        body = json.dumps(told).encode()
        self._start(200, {"Content-Length": str(len(body)), "Content-Type": "application/json"})
        self.wfile.write(body)

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        repository = self._repository(repo, revision)
        if repository is None:
            return
        if repository.gated:
            self._refuse(403, "GatedRepo")
        elif name not in repository.siblings:
            self._refuse(404, "EntryNotFound")
        elif "lfs" in (sibling := repository.siblings[name]):
            port = urlsplit(self.hub.url).port
            self._start(
                302,
                {
                    "Location": f"http://localhost:{port}/cdn/{repo}/{name}",
                    "X-Repo-Commit": repository.commit,
                    "X-Linked-Size": str(sibling["size"]),
                    "X-Linked-Etag": f'"{sibling["lfs"]["sha256"]}"',
                    "Content-Length": "0",
                },
            )
        else:
            self._send_file(repository.folder / name, {"X-Repo-Commit": repository.commit})

    def _send_file(self, file: Path, headers: dict[str, str] | None = None) -> None:
        data = file.read_bytes()
        etag = f'"{_git_sha1(data)}"'
        if file.name in self.hub.corrupted:
            data = bytes([data[0] ^ 1]) + data[1:]
        start = int(re.sub(r"\D", "", self.headers.get("Range", "")) or 0)
        length = len(data) - start
        told = {**(headers or {}), "ETag": etag, "Content-Length": str(length)}
        if start:
            told["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._start(206 if start else 200, told)
        if self.command == "HEAD":
            return
        cuts = self.hub.cuts.get(file.name)
        hold = self.hub.holds.get(file.name)
        if cuts:
            self.wfile.write(data[start : start + cuts.pop(0)])
            self.close_connection = True
        elif hold is not None and not self.hub.release.is_set():
            self.wfile.write(data[start : start + hold])
            self.wfile.flush()
            self.hub.holding.set()
            self.hub.release.wait(PATIENCE_S)
            self.close_connection = True
        else:
            self.wfile.write(data[start:])

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: int, code: str) -> None:
        self._start(status, {"Content-Length": "0", **({"X-Error-Code": code} if code else {})})


def _sibling(folder: Path, file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    name = file.relative_to(folder).as_posix()
    told: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _git_sha1(data)}
    if name.endswith(".safetensors"):
        sha256 = hashlib.sha256(data).hexdigest()
        told["lfs"] = {"size": len(data), "sha256": sha256, "pointerSize": 134}
    return told


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
