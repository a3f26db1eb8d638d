"""How the two CLIP encoders run: eagerly, or captured together as CUDA graphs.

On a GPU the hundreds of kernels of one prompt each take less time than their launch does.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import torch

from leyden_server.accelerator.cuda_graphs import (
    CapturedForward,
    Forward,
    GraphMemory,
    chosen_execution,
    padded_rows,
)
from leyden_server.config import EncoderExecution
from leyden_server.errors import ConfigError

__all__ = ["EncoderExecutor"]

logger = logging.getLogger(__name__)


class EncoderExecutor:
    """Runs both encoders. One thread warms it up and uses it: graphs replay on its stream."""

    def __init__(
        self, text_encoders: Sequence[Any], device: torch.device, execution: EncoderExecution
    ) -> None:
        """Raise ConfigError where the device cannot run so."""
        self.execution = chosen_execution(
            execution,
            device,
            setting="text_encoder.encoder_execution",
            without_graphs="auto and eager",
        )
        """What `auto` has come to."""
        self._text_encoders = text_encoders
        self._device = device
        self._captured: dict[int, Forward] = {}

    @torch.inference_mode()
    def __call__(self, token_ids: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prompt_embeds (P, 77, D) and pooled_prompt_embeds (P, pooled width).

        `token_ids` are one (P, 77) of each encoder. SDXL conditions on both encoders'
        penultimate hidden states and on the second one's pooled output (diffusers
        `StableDiffusionXLPipeline.encode_prompt`).
        """
        rows = len(token_ids[0])
        captured = self._captured.get(padded_rows(rows))
        if captured is None:
            return self._run(*(ids.to(self._device) for ids in token_ids))
        padding = (0, 0, 0, padded_rows(rows) - rows)
        padded = (torch.nn.functional.pad(ids, padding) for ids in token_ids)
        prompt_embeds, pooled = captured(*padded)
        return prompt_embeds[:rows], pooled[:rows]

    @torch.inference_mode()
    def prepare(self, token_ids: Sequence[torch.Tensor], max_prompts: int) -> None:
        """Make up to `max_prompts` prompts run as configured.

        `token_ids` are those of some one prompt, (1, 77) of each encoder.

        Raises:
            ConfigError: the encoders cannot be captured, or the device has not enough memory.

        """
        if self.execution == "eager":
            self(token_ids)
            return
        started_s = time.monotonic()
        memory = GraphMemory(self._device)
        # The largest first, whose memory the others then share.
        rows = padded_rows(max_prompts)
        while rows > 0:
            inputs = [ids.to(self._device).repeat(rows, 1) for ids in token_ids]
            try:
                self._captured[rows] = CapturedForward(self._run, inputs, memory)
            except RuntimeError as error:  # torch's own of memory too
                first_line = str(error).strip().partition("\n")[0]
                raise ConfigError(
                    "text_encoder.encoder_execution: the encoders cannot be captured as a CUDA "
                    f"graph for {rows} prompts: {type(error).__name__}: {first_line}; eager needs "
                    "no graph, and a lower text_encoder.max_batch_prompts less memory"
                ) from error
            rows //= 2
        logger.info(
            "text encoders: graphs of up to %d prompts ready in %.1f s",
            max(self._captured),
            time.monotonic() - started_s,
        )

    def _run(self, *token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden_states = []
        for text_encoder, ids in zip(self._text_encoders, token_ids, strict=True):
            output = text_encoder(ids, output_hidden_states=True)
            hidden_states.append(output.hidden_states[-2])
        return torch.cat(hidden_states, dim=-1), output.text_embeds
