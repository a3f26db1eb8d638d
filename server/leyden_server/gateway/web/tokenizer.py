"""What a model cuts prompts into tokens by, for a page that counts them as they are written.

The page's own counter needs the merges of CLIP's tokenizers and no vocabulary: how many tokens a
prompt is, not which.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.errors import ModelRepositoryError, RequestError
from leyden_server.gateway.access import Access
from leyden_server.gateway.web.exchange import Exchange
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.model_repository.needed_files import TOKENIZERS
from leyden_server.model_repository.resolved import ResolvedModel

__all__ = ["PATH", "Tokenizers", "tokenizer_of"]

PATH = "/tokenizer"

JSON_TYPE = "application/json"

ENCODER_TENSOR = "clip_l"
"""What a file of a learned token calls its vectors of the first encoder."""


class Tokenizers:
    """Answers GET /tokenizer?model=NAME."""

    def __init__(self, catalog: ModelCatalog, access: Access) -> None:
        self._catalog = catalog
        self._access = access
        self._known: dict[str, tuple[bytes, str]] = {}
        """By the key of the text encoders: the answer and its tag."""

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request; where the model, or what it reads by, is not known: 404."""
        if exchange.scope["method"] != "GET":
            await exchange.answer(405, b"", "text/plain; charset=utf-8", {"allow": "GET"})
            return
        try:
            # As the page may list the models, so it may know what they read by.
            self._access.account("leyden.v1.ModelService/GetModel", exchange.headers, exchange.peer)
        except RequestError as error:
            await exchange.answer_text(401, str(error))
            return
        name = parse_qs(exchange.scope["query_string"].decode("latin-1")).get("model", [""])[0]
        try:
            body, tag = await self._of(name)
        except (RequestError, ModelRepositoryError, OSError, ValueError, LookupError):
            await exchange.answer_text(404, "what this model cuts prompts by is not known")
            return
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if exchange.headers.get("if-none-match") == tag:
            await exchange.answer(304, b"", JSON_TYPE, headers)
        else:
            await exchange.answer(200, body, JSON_TYPE, headers)

    async def _of(self, name: str) -> tuple[bytes, str]:
        model = self._catalog.view(name).entry.model
        if model is None:
            raise LookupError(name)
        known = self._known.get(model.text_encoder_key)
        if known is None:
            body = json.dumps(
                await asyncio.to_thread(tokenizer_of, model),
                ensure_ascii=False,
                separators=(",", ":"),
            ).encode()
            known = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            self._known[model.text_encoder_key] = known
        return known


def tokenizer_of(model: ResolvedModel) -> dict[str, Any]:
    """Return what a prompt's tokens are counted by.

    `merges` has for each tokenizer that cuts in another way the pairs that are joined, in order;
    `learned_tokens` says how many vectors each learned token stands for.

    Raises:
        ModelRepositoryError, OSError, ValueError, LookupError: a file is not as it should be.

    """
    merges: list[list[str]] = []
    for name in TOKENIZERS:
        found = _merges(model.base_folder / name)
        if found not in merges:
            merges.append(found)
    learned = {
        one.token: SafetensorsFile.read(one.file).tensors[ENCODER_TENSOR].shape[0]
        for one in model.embeddings
    }
    return {"merges": merges, "learned_tokens": learned}


def _merges(folder: Path) -> list[str]:
    """Return the pairs of symbols, each with a space between, in the order of joining."""
    whole = folder / "tokenizer.json"
    if whole.exists():
        pairs = json.loads(whole.read_text(encoding="utf-8"))["model"]["merges"]
        return [pair if isinstance(pair, str) else " ".join(pair) for pair in pairs]
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#version")]
