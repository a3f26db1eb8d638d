"""Tokenizers and both CLIP encoders, batched, as SDXL conditions its UNet."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from leyden_server.accelerator.single_file import load_text_encoders
from leyden_server.config import EncoderExecution
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import EncodedPrompt
from leyden_server.text_encoder.encoder_execution import EncoderExecutor

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
            ModelRepositoryError: an all-in-one file does not fit the base's configs.
            ConfigError: the device cannot run them as `execution` says.

        """
        base = model.base_folder
        self._tokenizers = [
            _load_tokenizer(base / "tokenizer"),
            _load_tokenizer(base / "tokenizer_2"),
        ]
        text_encoders = [encoder.to(device).eval() for encoder in _load_text_encoders(model, dtype)]
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

    @torch.inference_mode()
    def encode(self, prompts: list[str]) -> list[EncodedPrompt]:
        """Encode each prompt; the results are in the order of `prompts`."""
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


def _load_text_encoders(model: ResolvedModel, dtype: torch.dtype) -> tuple[Any, Any]:
    if model.single_file is not None:
        return load_text_encoders(model, dtype)
    weights = {"dtype": dtype, "variant": model.variant, "use_safetensors": True}
    return (
        CLIPTextModel.from_pretrained(model.base_folder / "text_encoder", **weights),
        CLIPTextModelWithProjection.from_pretrained(
            model.base_folder / "text_encoder_2", **weights
        ),
    )


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    # Counting tokens past the limit is our job, so the tokenizer need not warn of it.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer
