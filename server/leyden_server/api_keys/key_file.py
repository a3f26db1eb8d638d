"""The file of API keys: names, hashes and what each may. It never has a key itself."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

import yaml
from pydantic import Field, model_validator

from leyden_server.api_keys.key import digest, id_of
from leyden_server.errors import ConfigError
from leyden_server.generations.account import Account
from leyden_server.service_order import PRIORITIES
from leyden_server.strict_model import StrictModel

__all__ = ["KeyEntry", "KeyFile", "changing"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"


class KeyEntry(StrictModel):
    """One key, and what its holder may."""

    shows_values: ClassVar[bool] = False

    name: str = Field(pattern=NAME)
    """Its name, as logs and metrics have it."""

    id: str = Field(pattern=r"^[a-z2-7]{8}$")
    """What stands in the key between `ley_` and the next `_`."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the whole key, in hexadecimal digits."""

    created: str = ""
    """When it was made."""

    images_per_minute: float | None = Field(default=None, gt=0, le=1e9)
    """Images that may be asked for in a minute; not set: no limit."""

    images_at_once: int | None = Field(default=None, ge=1)
    """Images that are accepted and not done; not set: no limit."""

    most_priority: int = Field(default=PRIORITIES[0], ge=PRIORITIES[0], le=PRIORITIES[-1])
    """The smallest, so most urgent, priority that may be asked for."""

    models: tuple[str, ...] = ()
    """Models that may be used; none are named: all."""

    operator: bool = False
    """Whether it has an operator's rights."""

    @classmethod
    def of(cls, key: str, name: str, **limits: object) -> Self:
        """Return the entry of a new key.

        Raises:
            ConfigError: its name or a limit is wrong.

        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"name": name, "id": id_of(key), "sha256": digest(key).hex(), "created": now}
        return cls.from_mapping({**entry, **limits}, f"key {name!r}", ConfigError)

    def account(self) -> Account:
        """Return what the key's holder may."""
        return Account(
            name=self.name,
            key_id=self.id,
            is_operator=self.operator,
            models=frozenset(self.models),
            most_priority=self.most_priority,
            images_per_minute=self.images_per_minute,
            images_at_once=self.images_at_once,
        )


class KeyFile(StrictModel):
    """All keys of a server."""

    shows_values: ClassVar[bool] = False

    keys: tuple[KeyEntry, ...] = ()
    """The keys, in the order in which they were added."""

    @model_validator(mode="after")
    def _each_is_one(self) -> Self:
        for what in ("name", "id"):
            seen: set[str] = set()
            for entry in self.keys:
                value = getattr(entry, what)
                if value in seen:
                    raise ValueError(f"two keys have the {what} {value!r}")
                seen.add(value)
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file.

        Raises:
            ConfigError: it cannot be read, or is wrong; the text quotes nothing of it.

        """
        return cls.from_yaml(path, ConfigError)

    def write(self, path: Path) -> None:
        """Replace the file at once, so that nobody reads half of it; readable by its owner alone.

        Raises:
            OSError: it cannot be written.

        """
        target = path.resolve()  # a link stays one
        data = {"keys": [e.model_dump(mode="json", exclude_defaults=True) for e in self.keys]}
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp's mode is 0600
                yaml.safe_dump(data, file, sort_keys=False)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def changing(path: Path) -> Iterator[KeyFile]:
    """Lend the keys to whoever changes them; nobody else does meanwhile. A new file is empty.

    Raises:
        ConfigError: the file is wrong, or its folder is none to write in.

    """
    lock_path = path.resolve().with_name(f".{path.resolve().name}.lock")
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        # Its own name would say nothing to who has never heard of it.
        raise ConfigError(f"{path}: cannot be written in its folder: {error.strerror}") from error
    try:
        # A lock of the file itself would be one of what is replaced.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield KeyFile.load(path) if path.exists() else KeyFile()
    finally:
        os.close(lock)
