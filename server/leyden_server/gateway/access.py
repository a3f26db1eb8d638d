"""Who calls: found once for each call, before any handler, whatever the protocol.

An interceptor of the whole server, so that a service which is added later is closed from its first
day; the HTTP door asks it too. What a call may, its handler asks of the caller's `Account`.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

import grpc

from leyden_server.errors import QuotaExceededError, UnauthenticatedError
from leyden_server.gateway.connections import Connections
from leyden_server.gateway.status import to_wire
from leyden_server.generations.account import Account, anybody
from leyden_server.generations.home import Caller

__all__ = ["AUTHORIZATION", "Access", "Keys", "account_of", "count_connection", "is_local"]

AUTHORIZATION = "authorization"
SCHEME = "bearer "

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

NOBODY = Account()
"""Who has no key, at a method that needs none."""


@dataclass(frozen=True, slots=True)
class _Entered:
    """What is known of a call before its handler runs; None: the server has no keys."""

    account: Account
    connections: Connections


_entered: ContextVar[_Entered | None] = ContextVar("entered", default=None)
"""Of the call whose handler runs: gRPC runs the interceptor and the handler in one task."""


class Keys(Protocol):
    """The API keys that are valid now."""

    def find(self, key: str) -> Account | None:
        """Return the account of a key; None: there is no such key."""


class Access(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Finds the account of each call, and refuses a call that has none."""

    def __init__(
        self,
        keys: Keys | None,
        open_methods: frozenset[str],
        refused: Callable[[Caller, UnauthenticatedError], None],
        connections: Connections,
    ) -> None:
        """Take the keys; None: the server has none, and everybody may call.

        `open_methods` need no key: paths, or the beginnings of paths up to a method's name
        ("/package.Service/"). `refused` is told of each call that is refused.
        """
        self._keys = keys
        self._open = open_methods
        self._refused = refused
        self._connections = connections

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the method's handler, or one that refuses."""
        if self._keys is not None:
            method = handler_call_details.method
            try:
                account = self._holder(method, handler_call_details.invocation_metadata)
            except UnauthenticatedError:
                refuse = partial(self._refuse, method.removeprefix("/"))
                return grpc.stream_stream_rpc_method_handler(refuse)
            _entered.set(_Entered(account, self._connections))
        return await continuation(handler_call_details)

    def account(self, method: str, metadata: Mapping[str, str], peer: str) -> Account:
        """Return whose call it is that came by another way than gRPC.

        Raises:
            UnauthenticatedError: it has no valid key, and needs one; the observers are told.

        """
        if self._keys is None:
            return anybody(is_local=is_local(peer))
        try:
            return self._holder(f"/{method}", metadata.items())
        except UnauthenticatedError as error:
            self._refused(Caller(peer, method=method), error)
            raise

    def enter(self, account: Account, peer: str) -> Callable[[], None]:
        """Count such a call's connection; return what is to be called when the call ends.

        Raises:
            QuotaExceededError: it is one too many of its key.

        """
        return self._connections.enter(account, peer)

    def _holder(self, method: str, metadata: object) -> Account:
        """Return the account of a call's key."""
        assert self._keys is not None
        account = self._keys.find(_key_of(metadata))
        if account is None and not self._is_open(method):
            raise UnauthenticatedError
        return account or NOBODY

    def _is_open(self, method: str) -> bool:
        return method in self._open or f"{method.rpartition('/')[0]}/" in self._open

    async def _refuse(self, method: str, _: object, context: Context) -> None:
        error = UnauthenticatedError()
        self._refused(Caller(context.peer(), context.time_remaining(), method=method), error)
        wire = to_wire(error)
        await context.abort(wire.code, wire.message, wire.trailing_metadata())


def account_of(context: Context) -> Account:
    """Return whose call this is; called in the task of its handler."""
    entered = _entered.get()
    return anybody(is_local=is_local(context.peer())) if entered is None else entered.account


async def count_connection(context: Context) -> None:
    """Count a call's connection as its key's; end the call where that is one too many."""
    entered = _entered.get()
    if entered is None:
        return
    try:
        leave = entered.connections.enter(entered.account, context.peer())
    except QuotaExceededError as error:
        wire = to_wire(error)
        await context.abort(wire.code, wire.message, wire.trailing_metadata())
    context.add_done_callback(lambda _: leave())  # type: ignore[arg-type]  # a Protocol of theirs


def is_local(peer: str) -> bool:
    """Return whether a peer, as gRPC writes it, is on this machine.

    A proxy on this machine is, for whomever it speaks.
    """
    kind, _, address = peer.replace("%5B", "[").replace("%5D", "]").partition(":")
    if kind == "unix":
        return True
    if kind not in {"ipv4", "ipv6"}:
        return False
    try:
        host = ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return (mapped or host).is_loopback


def _key_of(metadata: Any) -> str:
    """Return what follows "Bearer" in a call's metadata; empty: nothing does."""
    for name, value in metadata or ():
        if name == AUTHORIZATION and isinstance(value, str):
            if value[: len(SCHEME)].lower() == SCHEME:
                return value[len(SCHEME) :].strip()
            return ""
    return ""
