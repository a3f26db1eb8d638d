"""The ASGI application of the HTTP door: who is let in, and who answers which path."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from leyden_server.errors import ReaderTooSlowError, RequestError
from leyden_server.gateway.web.exchange import (
    Application,
    Exchange,
    Receive,
    Scope,
    Send,
    current_exchange,
)
from leyden_server.gateway.web.guard import SECURITY_HEADERS, Guard
from leyden_server.gateway.web.page_files import PageFiles

__all__ = ["Answers", "WebApplication"]

Answers = Callable[[Exchange], Awaitable[None]]
"""Answers one request."""

GRPC = "application/grpc"
GRPC_WEB = "application/grpc-web"


class WebApplication:
    """Answers every request of the door."""

    def __init__(
        self,
        guard: Guard,
        page: PageFiles,
        connect: Mapping[str, Application],
        others: Mapping[str, Answers],
        *,
        write_timeout_s: float,
        known: Callable[[Exception], RequestError],
    ) -> None:
        """Take who answers what.

        Args:
            guard: says who is let in.
            page: answers all other paths.
            connect: applications of ASGI that answer the calls of Connect, by their paths.
            others: who answers further paths, by how these begin.
            write_timeout_s: how many seconds a client may take nothing, or send nothing.
            known: logs a defect and returns what may be shown of it.

        """
        self._guard = guard
        self._page = page
        self._connect = connect
        self._others = others
        self._timeout_s = write_timeout_s
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(
            scope, receive, send, timeout_s=self._timeout_s, headers=SECURITY_HEADERS
        )
        token = current_exchange.set(exchange)
        try:
            await self._answer(exchange)
        except ReaderTooSlowError:
            return  # the server closes what has no end
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not exchange.has_left or task is None or task.uncancel() > 0:
                raise
        except Exception as error:  # noqa: BLE001 - a defect; the log has it
            shown = self._known(error)
            if not exchange.has_started:
                await exchange.answer_text(500, str(shown))
        finally:
            current_exchange.reset(token)

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.scope["path"]
        refusal = self._guard.refusal(exchange.scope)
        if refusal:
            await exchange.answer_text(403, refusal)
        elif path in self._connect:
            kind = exchange.headers.get("content-type", "")
            if kind.startswith(GRPC) and not kind.startswith(GRPC_WEB):
                text = "this port speaks Connect and gRPC-Web; gRPC has a port of its own"
                await exchange.answer_text(415, text)
            else:
                await self._connect[path](exchange.scope, exchange.receive, exchange.send)
        elif answer := next((a for p, a in self._others.items() if path.startswith(p)), None):
            await answer(exchange)
        else:
            await self._page.answer(exchange)
