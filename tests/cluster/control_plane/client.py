"""kubectl, as the checks use it."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Client", "Object", "RefusedError"]

Object = dict[str, Any]
"""One object of the API, as JSON."""


class RefusedError(Exception):
    """What kubectl said when it did not do as it was told."""


class Client:
    """Asks one API server, as one user."""

    def __init__(self, kubectl: Path, kubeconfig: Path) -> None:
        self._command = (str(kubectl), f"--kubeconfig={kubeconfig}")

    def run(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl with arguments; return what it printed, or raise what it complained of."""
        result = subprocess.run(
            (*self._command, *arguments), input=given, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise RefusedError(result.stderr.strip() or result.stdout.strip())
        return result.stdout

    def create(self, *objects: Object) -> None:
        """Create objects, strictly: a field that the API does not know is an error."""
        self.run("create", "--validate=strict", "-f", "-", given=_list_of(objects))

    def apply(self, *objects: Object) -> None:
        """Apply objects on the server's side, strictly."""
        arguments = ("apply", "--server-side", "--force-conflicts", "--validate=strict")
        self.run(*arguments, "-f", "-", given=_list_of(objects))

    def dry_run(self, *objects: Object) -> None:
        """Have the API server check objects as it does when it stores them, strictly."""
        arguments = ("apply", "--dry-run=server", "--validate=strict")
        self.run(*arguments, "-f", "-", given=_list_of(objects))

    def create_files(self, *files: Path) -> None:
        """Create what files say."""
        self.run("create", *(f"--filename={file}" for file in files))

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        """Return one object."""
        found: Object = json.loads(self.run("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def find(self, kind: str, name: str, namespace: str = "default") -> Object | None:
        """Return one object, if it is there."""
        arguments = ("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        found = self.run(*arguments)
        return json.loads(found) if found else None

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """Return the objects of a kind: of a namespace, or of all."""
        where = ("-n", namespace) if namespace else ("-A",)
        listed = self.run("get", kind, *where, "-l", selector, "-o", "json")
        items: list[Object] = json.loads(listed)["items"]
        return items


def _list_of(objects: Iterable[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
