"""Textual inversions: tokens that stand for embeddings which were learned, not for words.

A file has some vectors for each of SDXL's encoders, `clip_l` (n, width of the first) and `clip_g`
(n, width of the second). The token stands for all n of them, one after another, as in diffusers'
`load_textual_inversion` (Gal et al. 2022, arXiv 2208.01618).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from leyden_server.accelerator.tensor_files import read_tensor
from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository.resolved import LearnedToken

__all__ = ["LearnedTokens"]

TENSORS = ("clip_l", "clip_g")
"""What a file calls the vectors of the first encoder and of the second."""


class LearnedTokens:
    """Teaches tokenizers and encoders the tokens, and writes prompts so that they are read."""

    def __init__(
        self,
        tokens: Sequence[LearnedToken],
        tokenizers: Sequence[Any],
        text_encoders: Sequence[Any],
    ) -> None:
        """Add the tokens to both tokenizers, and their vectors to both encoders.

        Raises:
            ModelRepositoryError: a token is a word that a tokenizer has already, or a vector is
                not finite.

        """
        self._written: dict[str, str] = {}
        for learned in tokens:
            file = SafetensorsFile.read(learned.file)
            for name, tokenizer, encoder in zip(TENSORS, tokenizers, text_encoders, strict=True):
                vectors = read_tensor(file, name)
                names = _names(learned.token, len(vectors))
                known = len(tokenizer)
                if known != encoder.get_input_embeddings().num_embeddings:
                    raise ModelRepositoryError(
                        f"{learned.file}: the base's tokenizer has {known} tokens and its text "
                        f"encoder {encoder.get_input_embeddings().num_embeddings}, so that a new "
                        "one has no place"
                    )
                tokenizer.add_tokens(names)
                if len(tokenizer) != known + len(names):
                    raise ModelRepositoryError(
                        f"{learned.file}: the token {learned.token!r} is one that the tokenizer "
                        "has already; model.yaml may give the embedding another"
                    )
                _append(encoder, vectors)
                _end_at(encoder, tokenizer.eos_token_id)
            self._written[learned.token] = " ".join(names)

    def written(self, prompt: str) -> str:
        """Return a prompt in which each token stands with all its vectors."""
        for token, names in self._written.items():
            prompt = prompt.replace(token, names)
        return prompt


def _names(token: str, vectors: int) -> list[str]:
    return [token, *(f"{token}_{number}" for number in range(1, vectors))]


def _end_at(encoder: Any, eos_token_id: int) -> None:
    """Have the pooled output taken where the prompt ends.

    SDXL's configs say that the end is token 2, for which transformers takes the token of the
    highest number; that was the end until there were higher ones.
    """
    getattr(encoder, "text_model", encoder).eos_token_id = eos_token_id


def _append(encoder: Any, vectors: torch.Tensor) -> None:
    old: nn.Embedding = encoder.get_input_embeddings()
    weight = torch.cat([old.weight, vectors.to(old.weight.dtype)])
    encoder.set_input_embeddings(nn.Embedding.from_pretrained(weight))  # type: ignore[no-untyped-call] # torch: untyped
