"""Tokenizers and both CLIP encoders, batched, as SDXL conditions its UNet."""

import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from leyden_server.accelerator.adapters import adapters_of
from leyden_server.accelerator.weights import fill, without_memory
from leyden_server.checkpoint.model_plan import ModelPlan
from leyden_server.config import EncoderExecution
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import EncodedPrompt
from leyden_server.text_encoder.encoder_execution import EncoderExecutor
from leyden_server.text_encoder.learned_tokens import LearnedTokens

__all__ = ["PromptEncoder"]


class _Tokenized(NamedTuple):
    token_ids: torch.Tensor
    """(P, 77), cut or padded."""
    counts: list[int]
    """Tokens of each prompt before the cut."""
    limit: int


class PromptEncoder:
    """Encodes prompts. Not thread-safe: one call at a time."""

    def __init__(
        self,
        model: ResolvedModel,
        *,
        dtype: torch.dtype,
        device: torch.device,
        replica: str,
        execution: EncoderExecution = "auto",
    ) -> None:
        """Load tokenizers and encoders.

        Raises:
            ModelRepositoryError: weights do not fit the base's configs, or are not finite.
            ConfigError: the device cannot run them as `execution` says.

        """
        base = model.base_folder
        self._tokenizers = [
            _load_tokenizer(base / "tokenizer"),
            _load_tokenizer(base / "tokenizer_2"),
        ]
        text_encoders = _load_text_encoders(model, dtype)
        self._learned = LearnedTokens(model.embeddings, self._tokenizers, text_encoders)
        text_encoders = [encoder.to(device).eval() for encoder in text_encoders]
        text_encoders[1].text_projection = RowByRow(text_encoders[1].text_projection)
        self._executor = EncoderExecutor(text_encoders, device, execution)
        self._replica = replica

    def warm_up(self, max_prompts: int) -> None:
        """Encode for the first time, and prepare for up to `max_prompts` prompts at once.

        Raises:
            ConfigError: the encoders cannot be captured as graphs.

        """
        tokenized = [_tokenize(tokenizer, ["warm-up"]) for tokenizer in self._tokenizers]
        self._executor.prepare([one.token_ids for one in tokenized], max_prompts)

    def time_prompt(self) -> float:
        """Encode one prompt and return the seconds that it took."""
        start = time.perf_counter()
        self.encode(["warm-up"])
        return time.perf_counter() - start

    @torch.inference_mode()
    def encode(self, prompts: list[str]) -> list[EncodedPrompt]:
        """Encode each prompt; the results are in the order of `prompts`."""
        prompts = [self._learned.written(prompt) for prompt in prompts]
        tokenized = [_tokenize(tokenizer, prompts) for tokenizer in self._tokenizers]
        embeds, pooled_embeds = self._executor([one.token_ids for one in tokenized])
        prompt_embeds, pooled = embeds.float().cpu().numpy(), pooled_embeds.float().cpu().numpy()
        return [
            EncodedPrompt(
                # Copies, or a cached prompt would keep its whole batch in memory.
                prompt_embeds=prompt_embeds[row].copy(),
                pooled_prompt_embeds=pooled[row].copy(),
                token_count=max(one.counts[row] for one in tokenized),
                truncated=any(one.counts[row] > one.limit for one in tokenized),
                replica=self._replica,
            )
            for row in range(len(prompts))
        ]


class RowByRow(nn.Module):
    """A linear layer that sums each row as if it came alone.

    On a CPU a matrix of several rows is summed in another order than one row, so the last bits
    of a pooled embedding, and of every image made from it once it is kept, would depend on
    whose prompt happened to come at the same time. The encoders' other layers have 77 rows a
    prompt, and sum alike however many prompts there are (torch 2.13 on AVX2).
    """

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self._linear = linear

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Map rows (P, width) to (P, pooled width)."""
        return torch.cat([self._linear(row[None]) for row in rows])


def _tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> _Tokenized:
    limit: int = tokenizer.model_max_length
    cut = tokenizer(
        prompts, padding="max_length", max_length=limit, truncation=True, return_tensors="pt"
    )
    return _Tokenized(cut.input_ids, [len(ids) for ids in tokenizer(prompts).input_ids], limit)


def _load_text_encoders(model: ResolvedModel, dtype: torch.dtype) -> list[Any]:
    plan = ModelPlan(model.weight_files)
    encoders = []
    for part, kind in (
        ("text_encoder", CLIPTextModel),
        ("text_encoder_2", CLIPTextModelWithProjection),
    ):
        config = CLIPTextConfig(**plan.config(part))
        encoder = without_memory(partial(kind, config))
        # What stands in no file, and was built without memory like all else.
        embeddings = getattr(encoder, "text_model", encoder).embeddings
        embeddings.position_ids = torch.arange(config.max_position_embeddings)[None]
        fill(encoder, plan.part(part), dtype, adapters=adapters_of(model, part, plan))
        encoders.append(encoder)
    return encoders


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    # Counting tokens past the limit is our job, so the tokenizer need not warn of it.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer
