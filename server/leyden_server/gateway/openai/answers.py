"""The paths of OpenAI's API: who calls, which method answers, and how an error is said."""

import json
from typing import Any

from leyden_server.config import GatewayConfig
from leyden_server.errors import ReaderTooSlowError, RequestError
from leyden_server.gateway.access import Access
from leyden_server.gateway.call import trace_context
from leyden_server.gateway.openai.images import PROTOCOL, Images
from leyden_server.gateway.openai.models import model, models
from leyden_server.gateway.openai.wire_error import error_body, error_headers, http_status
from leyden_server.gateway.web.exchange import Exchange
from leyden_server.generations.home import Caller
from leyden_server.generations.model_control import ModelControl
from leyden_server.generations.registry import Generations

__all__ = ["PREFIX", "OpenAiApi"]

PREFIX = "/v1/"

GENERATE = "/v1/images/generations"
MODELS = "/v1/models"


class OpenAiApi:
    """Answers every path below /v1/."""

    def __init__(
        self,
        generations: Generations,
        models: ModelControl,
        access: Access,
        config: GatewayConfig,
    ) -> None:
        self._generations = generations
        self._models = models
        self._access = access
        self._images = Images(generations, config)

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        path, method = exchange.scope["path"], exchange.scope["method"]
        try:
            if path == GENERATE:
                await self._generate(exchange, method)
            elif path == MODELS or path.startswith(f"{MODELS}/"):
                await self._show_models(exchange, method, path.removeprefix(MODELS).strip("/"))
            else:
                await _say(exchange, 404, f"this server has no {path[:128]}")
        except ReaderTooSlowError:
            raise
        except Exception as error:
            known = self._generations.known(error)
            if exchange.has_started:
                raise
            await _answer(exchange, http_status(known), error_body(known), error_headers(known))

    async def _generate(self, exchange: Exchange, method: str) -> None:
        if method != "POST":
            await _say(exchange, 405, "POST alone", {"allow": "POST"})
            return
        called = GENERATE.lstrip("/")
        account = self._access.account(called, exchange.headers, exchange.peer)
        caller = Caller(
            exchange.peer,
            account=account,
            method=called,
            protocol=PROTOCOL,
            trace=trace_context(exchange.headers),
        )
        try:
            leave = self._access.enter(account, exchange.peer)
        except RequestError as error:
            self._generations.turned_away(caller, error)
            raise
        try:
            await self._images.generate(exchange, caller)
        finally:
            leave()

    async def _show_models(self, exchange: Exchange, method: str, name: str) -> None:
        if method != "GET":
            await _say(exchange, 405, "GET alone", {"allow": "GET"})
            return
        self._access.account(MODELS.lstrip("/"), exchange.headers, exchange.peer)
        await self._models.refresh()
        catalog = self._generations.catalog
        await _answer(exchange, 200, model(catalog, name) if name else models(catalog))


async def _answer(
    exchange: Exchange, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    await exchange.answer(status, json.dumps(body).encode(), "application/json", headers)


async def _say(
    exchange: Exchange, status: int, text: str, headers: dict[str, str] | None = None
) -> None:
    error = {"message": text, "type": "invalid_request_error", "param": None, "code": None}
    await _answer(exchange, status, {"error": error}, headers)
