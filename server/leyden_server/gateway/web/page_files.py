"""The page: files that were built into the package, held in memory."""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from leyden_server.gateway.web.exchange import Exchange

__all__ = ["PAGE", "PageFiles"]

PAGE = Path(__file__).with_name("page")

INDEX = "index.html"

ASSETS = "assets/"
"""Files below it have a hash of what they hold in their names: they never change."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""What the machine's own tables may say otherwise."""


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    content_type: str
    etag: str
    caching: str


class PageFiles:
    """Answers GET and HEAD with the files of a folder, and with index.html for "/"."""

    def __init__(self, folder: Path = PAGE) -> None:
        """Read them all: they are few and small."""
        self._files = {
            f"/{path.relative_to(folder).as_posix()}": _read(path, folder)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        if f"/{INDEX}" in self._files:
            self._files["/"] = self._files[f"/{INDEX}"]

    async def answer(self, exchange: Exchange) -> None:
        """Send the file, or say that it is not there."""
        method, file = exchange.scope["method"], self._files.get(exchange.scope["path"])
        if file is None:
            await exchange.answer_text(404, "not found")
        elif method not in {"GET", "HEAD"}:
            headers = {"allow": "GET, HEAD"}
            await exchange.answer(405, b"", "text/plain; charset=utf-8", headers)
        elif exchange.headers.get("if-none-match") == file.etag:
            headers = {"etag": file.etag, "cache-control": file.caching}
            await exchange.answer(304, b"", file.content_type, headers)
        else:
            headers = {"etag": file.etag, "cache-control": file.caching}
            await exchange.answer(200, file.data, file.content_type, headers)


def _read(path: Path, folder: Path) -> _File:
    data = path.read_bytes()
    known = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    is_fixed = path.relative_to(folder).as_posix().startswith(ASSETS)
    return _File(
        data,
        TYPES.get(path.suffix, known),
        f'"{hashlib.sha256(data).hexdigest()[:32]}"',
        "public, max-age=31536000, immutable" if is_fixed else "no-cache",
    )
