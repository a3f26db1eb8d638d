"""The Gateway's door: what it listens with, who comes in; read from files, again as they change."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

import grpc

from leyden_server.api_keys.known_keys import ApiKeyFile
from leyden_server.door_config import DoorConfig, OpenService
from leyden_server.errors import ConfigError, UnauthenticatedError
from leyden_server.gateway.access import Access
from leyden_server.gateway.connections import Connections
from leyden_server.gateway.tls import ServerTls, check_tls_files
from leyden_server.generations.home import Caller
from leyden_server.watched_files import WatchedFiles

__all__ = ["Door", "check_files"]

LOOK_PERIOD_S = 0.5
"""How often files are looked at; what has changed is read a look later."""

OPEN_METHODS: dict[OpenService, tuple[str, ...]] = {
    "health": (
        "/grpc.health.v1.Health/",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    ),
    "reflection": (
        "/grpc.reflection.v1.ServerReflection/",
        "/grpc.reflection.v1alpha.ServerReflection/",
    ),
}
"""Methods, or services, that a setting opens to who has no key."""


class _Reloadable(Protocol):
    def reload(self) -> str:
        """Read again; return what there is to say, or raise ConfigError."""


class Door:
    """TLS and API keys of one Gateway."""

    def __init__(
        self, config: DoorConfig, refused: Callable[[Caller, UnauthenticatedError], None]
    ) -> None:
        """Read what the settings name; `refused` is told of each call without a valid key.

        Raises:
            ConfigError: a file is not what it should be.

        """
        self._watched: list[tuple[WatchedFiles, _Reloadable, str]] = []
        self._tls: ServerTls | None = None
        keys: ApiKeyFile | None = None
        if config.tls_certificate is not None:
            self._tls = ServerTls(config)
            self._watched.append((self._tls.files, self._tls, "the certificate of before stays"))
        if config.api_keys is not None:
            files = WatchedFiles([config.api_keys])
            keys = _read_keys(config)
            self._watched.append((files, keys, "gateway.api_keys: the keys of before stay"))
        opened = frozenset(
            method for service in config.open_without_key for method in OPEN_METHODS[service]
        )
        self.access = Access(keys, opened, refused, Connections(config.max_connections_per_key))

    def listen(self, server: grpc.aio.Server, address: str) -> int:
        """Have `server` listen at `address`, with TLS where it is on; return the port."""
        if self._tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._tls.credentials())

    def https(self) -> ssl.SSLContext | None:
        """Return what the HTTP door listens with; None: plaintext.

        Raises:
            ConfigError: OpenSSL does not take a file that gRPC does.

        """
        return None if self._tls is None else self._tls.https()

    def certificate_expiry_s(self) -> float | None:
        """Return when the certificate expires, in seconds since 1970; None: there is none."""
        return None if self._tls is None else self._tls.expires.timestamp()

    async def keep_fresh(self, note: Callable[[str], None]) -> None:
        """Read what has changed, again and again, until cancelled; `note` takes each outcome."""
        while self._watched:
            await asyncio.sleep(LOOK_PERIOD_S)
            for files, source, otherwise in self._watched:
                if files.have_changed():
                    # Thousands of keys take a second to parse.
                    note(await asyncio.to_thread(_reload, source, otherwise))


def _reload(source: _Reloadable, otherwise: str) -> str:
    """Return what there is to say of a file that was read again, whatever is wrong with it."""
    try:
        return source.reload()
    except ConfigError as error:
        return f"{' '.join(str(error).split())}; {otherwise}"
    except Exception as error:  # noqa: BLE001 - of a parser, say; its text may quote the file
        return f"a file could not be read: {type(error).__name__}; {otherwise}"


def check_files(config: DoorConfig) -> None:
    """Raise ConfigError where a file that the settings name is not what it should be."""
    check_tls_files(config)
    if config.api_keys is not None:
        _read_keys(config)


def _read_keys(config: DoorConfig) -> ApiKeyFile:
    assert config.api_keys is not None
    try:
        return ApiKeyFile(config.api_keys)
    except ConfigError as error:
        first, _, rest = str(error).partition("\n")
        more = f" (and {len(rest.splitlines())} more)" if rest else ""
        raise ConfigError(f"gateway.api_keys: {first}{more}") from None
