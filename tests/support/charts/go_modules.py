"""Files out of Go modules, by the module proxy: no Go is needed; each zip is checked and kept."""

import base64
import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from support.charts.cache import cache_folder

__all__ = ["GoModule", "NoModuleError"]

DEFAULT_PROXY = "https://proxy.golang.org"
TIMEOUT_S = 60.0


class NoModuleError(Exception):
    """A module cannot be had, and why."""


@dataclass(frozen=True, slots=True)
class GoModule:
    """One version of a module; `digest` is what go.sum calls its `h1`."""

    path: str
    version: str
    digest: str

    def read(self, name: str) -> str:
        """Returns the text of a file of the module.

        Raises:
            NoModuleError: the module cannot be had, or is not what it should be.

        """
        with zipfile.ZipFile(self._zip()) as zipped:
            return zipped.read(f"{self.path}@{self.version}/{name}").decode("utf-8")

    def _zip(self) -> Path:
        kept = cache_folder() / "go-modules" / self.path / f"{self.version}.zip"
        if kept.exists():
            return kept
        content = self._fetch()
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_bytes(content)
        if _h1(part) != self.digest:
            part.unlink()
            raise NoModuleError(f"{self.path} {self.version} is not what it was: {_h1(part)}")
        part.replace(kept)
        return kept

    def _fetch(self) -> bytes:
        proxies = os.environ.get("GOPROXY", DEFAULT_PROXY).replace("|", ",").split(",")
        why = "GOPROXY names no proxy"
        for proxy in proxies:
            if not proxy.startswith(("https://", "http://")):
                continue
            url = f"{proxy.rstrip('/')}/{self.path}/@v/{self.version}.zip"
            try:
                with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # a GOPROXY
                    content: bytes = answer.read()
                    return content
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                why = str(error)
        raise NoModuleError(f"{self.path} {self.version}: {why}")


def _h1(file: Path) -> str:
    """Returns a zip's digest as golang.org/x/mod/sumdb/dirhash has it."""
    lines = []
    with zipfile.ZipFile(file) as zipped:
        for name in sorted(zipped.namelist()):
            lines.append(f"{hashlib.sha256(zipped.read(name)).hexdigest()}  {name}\n")
    digest = hashlib.sha256("".join(lines).encode()).digest()
    return "h1:" + base64.b64encode(digest).decode()
