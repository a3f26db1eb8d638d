"""Tokenizers and both CLIP encoders, batched, as SDXL conditions its UNet."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.messages import EncodedPrompt
from leyden_server.stages.single_file import load_text_encoders

__all__ = ["PromptEncoder"]


class PromptEncoder:
    """Encodes prompts. Not thread-safe: one call at a time."""

    def __init__(
        self, model: ResolvedModel, *, dtype: torch.dtype, device: torch.device, replica: str
    ) -> None:
        """Load tokenizers and encoders.

        Raises:
            ModelRepositoryError: an all-in-one file does not fit the base's configs.

        """
        base = model.base_folder
        self._tokenizers = [
            _load_tokenizer(base / "tokenizer"),
            _load_tokenizer(base / "tokenizer_2"),
        ]
        self._text_encoders = [
            encoder.to(device).eval() for encoder in _load_text_encoders(model, dtype)
        ]
        self._device = device
        self._replica = replica

    @torch.inference_mode()
    def encode(self, prompts: list[str]) -> list[EncodedPrompt]:
        """Encode each prompt; the results are in the order of `prompts`.

        SDXL conditions on both encoders' penultimate hidden states and on the second
        one's pooled output (diffusers `StableDiffusionXLPipeline.encode_prompt`).
        """
        token_counts = [0] * len(prompts)
        truncated = [False] * len(prompts)
        hidden_states = []
        for tokenizer, text_encoder in zip(self._tokenizers, self._text_encoders, strict=True):
            for row, ids in enumerate(tokenizer(prompts).input_ids):
                token_counts[row] = max(token_counts[row], len(ids))
                truncated[row] |= len(ids) > tokenizer.model_max_length
            tokens = tokenizer(
                prompts,
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            output = text_encoder(tokens.input_ids.to(self._device), output_hidden_states=True)
            hidden_states.append(output.hidden_states[-2])
        pooled = output.text_embeds.float().cpu().numpy()
        prompt_embeds = torch.cat(hidden_states, dim=-1).float().cpu().numpy()
        return [
            EncodedPrompt(
                # Copies, or a cached prompt would keep its whole batch in memory.
                prompt_embeds=prompt_embeds[row].copy(),
                pooled_prompt_embeds=pooled[row].copy(),
                token_count=token_counts[row],
                truncated=truncated[row],
                replica=self._replica,
            )
            for row in range(len(prompts))
        ]


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
