"""How many connections have calls of one API key open.

grpc.aio tells of a call by which connection it came (its peer, a host and a port that no two
connections share at one time), and of connections nothing. So what is counted is connections that
have a call open; one that is idle has shown no key either.
"""

from collections import Counter
from collections.abc import Callable

from leyden_server.errors import QuotaExceededError
from leyden_server.generations.account import Account

__all__ = ["Connections"]

RETRY_AFTER_S = 1.0


class Connections:
    """Open calls, by key and connection. For one event loop."""

    def __init__(self, most: int) -> None:
        """`most` connections a key; 0: no limit."""
        self._most = most
        self._calls: dict[str, Counter[str]] = {}

    def enter(self, account: Account, peer: str) -> Callable[[], None]:
        """Count a call that begins; return what is to be called when it ends.

        Raises:
            QuotaExceededError: it came by a connection too many.

        """
        if self._most == 0 or not account.key_id:
            return _nothing
        calls = self._calls.setdefault(account.key_id, Counter())
        if peer not in calls and len(calls) >= self._most:
            raise QuotaExceededError(
                "TOO_MANY_CONNECTIONS",
                f"the API key {account.name!r} may have calls open on {self._most} connections "
                "here; send several calls on one",
                {"max_connections_per_key": str(self._most)},
                RETRY_AFTER_S,
            )
        calls[peer] += 1

        def leave() -> None:
            calls[peer] -= 1
            if calls[peer] == 0:
                del calls[peer]
            if not calls and self._calls.get(account.key_id) is calls:
                del self._calls[account.key_id]

        return leave


def _nothing() -> None:
    """Nothing was counted."""
