"""The keys that are valid now: found by their id, compared by their hash, read again on change."""

import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path

from leyden_server.api_keys.key import digest, id_of
from leyden_server.api_keys.key_file import KeyEntry, KeyFile
from leyden_server.generations.account import Account

__all__ = ["ApiKeyFile", "ApiKeys"]


class ApiKeys:
    """A set of keys. Finding one of 10,000 is as dear as one of ten."""

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        self._by_id = {e.id: (bytes.fromhex(e.sha256), e.account()) for e in entries}
        self._nobody = (secrets.token_bytes(32), None)

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, key: str) -> Account | None:
        """Return the account of a key; None: it is none of them.

        An id that nobody has takes the same work as a wrong key with a known id.
        """
        expected, account = self._by_id.get(id_of(key), self._nobody)
        return account if hmac.compare_digest(digest(key), expected) else None


class ApiKeyFile:
    """The keys of a file; `reload` reads them again."""

    def __init__(self, path: Path) -> None:
        """Read them.

        Raises:
            ConfigError: the file cannot be read, or is wrong.

        """
        self.path = path
        self._keys = ApiKeys(KeyFile.load(path).keys)

    def find(self, key: str) -> Account | None:
        """Return the account of a key; None: there is no such key."""
        return self._keys.find(key)

    def reload(self) -> str:
        """Read the file again and return what there is to say of it.

        Raises:
            ConfigError: it cannot be read, or is wrong. The keys are those of before then.

        """
        self._keys = ApiKeys(KeyFile.load(self.path).keys)
        return f"{self.path}: read again, {len(self._keys)} keys"
