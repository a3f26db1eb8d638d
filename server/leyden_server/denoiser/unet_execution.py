"""How a UNet forward runs: eagerly, traced, compiled, captured as a CUDA graph, or both.

A graph is captured for one shape of inputs, called a bucket here: so many rows at one latent
size. Code is compiled for one size, once for a single row and once for all numbers above. The
warm-up prepares buckets; inputs of any other shape run eagerly, so that no request ever waits
for a compiler. What is traced holds for all numbers of rows and most sizes.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel

from leyden_server.accelerator.compiler import any_number_of_rows, compiled, explained
from leyden_server.accelerator.cuda_graphs import (
    BufferedForward,
    CapturedForward,
    Forward,
    GraphMemory,
    chosen_execution,
)
from leyden_server.accelerator.traced import traced
from leyden_server.config import UNetExecution
from leyden_server.errors import ConfigError

__all__ = ["Bucket", "TracedUNet", "UNetExecutor", "UNetInputs"]

logger = logging.getLogger(__name__)

Bucket = tuple[torch.Size, ...]


class UNetInputs(NamedTuple):
    """What one UNet forward reads, for P rows. All but `timestep` in the UNet's dtype."""

    sample: torch.Tensor
    """(P, C, H, W)."""
    timestep: torch.Tensor
    """(P,) float32."""
    encoder_hidden_states: torch.Tensor
    """(P, 77, W): a prompt's keys and values, as `UNetRunner.encoder_hidden_states` makes them."""
    text_embeds: torch.Tensor
    """(P, pooled width)."""
    time_ids: torch.Tensor
    """(P, 6)."""
    timestep_cond: torch.Tensor | None = None
    """(P, W): guidance scales, where the UNet was distilled with guidance."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Those that the UNet has, in order."""
        return tuple(tensor for tensor in self if tensor is not None)

    @property
    def bucket(self) -> Bucket:
        """The shapes that a prepared forward is made for."""
        return tuple(tensor.shape for tensor in self.tensors)


class UNetExecutor:
    """Runs a UNet. One thread warms it up and uses it: graphs replay on its stream."""

    def __init__(self, unet: UNet2DConditionModel, execution: UNetExecution) -> None:
        """Raise ConfigError where the device cannot run so."""
        on_cpu = unet.device.type == "cpu"
        self.execution = chosen_execution(
            "traced" if execution == "auto" and on_cpu else execution,
            unet.device,
            setting="denoiser.unet_execution",
            without_graphs="auto, eager, traced and compile",
        )
        """What `auto` has come to."""
        if self.execution == "traced" and not on_cpu:
            raise ConfigError(
                f"denoiser.unet_execution: traced is for a CPU and this stage is on "
                f"{unet.device.type}; auto, eager, cuda_graphs and compile run there"
            )
        self._unet = unet
        self._traced: TracedUNet | None = None
        self._prepared: dict[Bucket, Forward] = {}
        self._graph_memory: GraphMemory | None = None
        if self.execution in ("cuda_graphs", "compile_cuda_graphs"):
            self._graph_memory = GraphMemory(unet.device)
        self._compiles = execution in ("compile", "compile_cuda_graphs")
        if self._compiles:
            self._compiled = compiled(unet)

    @property
    def prepares_buckets(self) -> bool:
        """Whether a bucket runs otherwise than eagerly only once it is prepared."""
        return self.execution not in ("eager", "traced")

    @property
    def prepared(self) -> frozenset[Bucket]:
        """The buckets that do not run eagerly."""
        return frozenset(self._prepared)

    @torch.inference_mode()
    def __call__(self, inputs: UNetInputs) -> torch.Tensor:
        """Return the prediction (P, C, H, W), contiguous, in memory that is the caller's."""
        if self._traced is not None and self._traced.is_for(inputs):
            return self._traced(inputs).contiguous()
        forward = self._prepared.get(inputs.bucket, self._run_eagerly)
        (prediction,) = forward(*inputs.tensors)
        return prediction.contiguous()

    @torch.inference_mode()
    def prepare(self, inputs: UNetInputs) -> None:
        """Make the bucket of `inputs` run as configured, by running it a few times.

        Raises:
            ConfigError: the UNet does not compile here.
            torch.OutOfMemoryError: the device has not enough memory for the bucket.

        """
        if self.execution == "traced" and self._traced is None:
            self._traced = TracedUNet(self._unet, inputs)
        if not self.prepares_buckets or inputs.bucket in self._prepared:
            return
        started_s = time.monotonic()
        if self._compiles:
            with explained("denoiser.unet_execution"):
                self._prepared[inputs.bucket] = self._ready(self._run_compiled, inputs)
        else:
            self._prepared[inputs.bucket] = self._ready(self._run_eagerly, inputs)
        logger.info(
            "UNet %s: %d rows at latents %dx%d ready in %.1f s",
            self.execution,
            inputs.sample.shape[0],
            *inputs.sample.shape[2:],
            time.monotonic() - started_s,
        )

    def _ready(self, forward: Forward, inputs: UNetInputs) -> Forward:
        """Return `forward` once it has run for the bucket, captured where graphs are asked for."""
        if self._graph_memory is not None:
            return CapturedForward(forward, inputs.tensors, self._graph_memory)
        buffered = BufferedForward(forward, inputs.tensors)
        buffered(*inputs.tensors)
        return buffered

    def _run_eagerly(self, *inputs: torch.Tensor) -> tuple[torch.Tensor]:
        return _forward(self._unet, UNetInputs(*inputs))

    def _run_compiled(self, *inputs: torch.Tensor) -> tuple[torch.Tensor]:
        any_number_of_rows(*inputs)
        return _forward(self._compiled, UNetInputs(*inputs))


class TracedUNet:
    """A UNet on a CPU that was traced, once for all: any rows, tokens, and sizes but odd ones.

    It is traced and compared at the smallest sizes that it is for, which takes about a second.
    """

    def __init__(self, unet: UNet2DConditionModel, like: UNetInputs) -> None:
        """Trace a UNet that takes inputs like these, whatever their shapes."""
        # On the way up diffusers' UNet rounds other sizes, which a trace would always do or never.
        self._multiple = 2**unet.num_upsamplers
        small, wide, tall = (
            self._random(like, rows, height, width, tokens)
            for rows, height, width, tokens in ((2, 2, 3, 77), (1, 3, 2, 77), (3, 4, 1, 5))
        )

        def forward(*tensors: torch.Tensor) -> torch.Tensor:
            return _forward(unet, UNetInputs(*tensors))[0]

        unet.requires_grad_(False)
        self._traced = traced(forward, small.tensors, [wide.tensors, tall.tensors])

    def is_for(self, inputs: UNetInputs) -> bool:
        """Whether inputs are of a size that the trace is for."""
        height, width = inputs.sample.shape[2:]
        return self._traced is not None and height % self._multiple == width % self._multiple == 0

    def __call__(self, inputs: UNetInputs) -> torch.Tensor:
        """Return the prediction (P, C, H, W) for inputs that it `is_for`."""
        assert self._traced is not None, "is_for"
        return self._traced(*inputs.tensors)

    def _random(
        self, like: UNetInputs, rows: int, height: int, width: int, tokens: int
    ) -> UNetInputs:
        """Return inputs of so many rows and tokens; the size is in the least that it is for."""
        of = torch.Generator().manual_seed(rows)

        def draw(tensor: torch.Tensor, *shape: int) -> torch.Tensor:
            return torch.randn(rows, *shape, generator=of).to(tensor.dtype)

        size = (height * self._multiple, width * self._multiple)
        cond = like.timestep_cond
        return UNetInputs(
            sample=draw(like.sample, like.sample.shape[1], *size),
            timestep=torch.arange(rows, dtype=torch.float32) * 100 + 99,
            encoder_hidden_states=draw(
                like.encoder_hidden_states, tokens, like.encoder_hidden_states.shape[2]
            ),
            text_embeds=draw(like.text_embeds, like.text_embeds.shape[1]),
            time_ids=draw(like.time_ids, like.time_ids.shape[1]),
            timestep_cond=None if cond is None else draw(cond, cond.shape[1]),
        )


def _forward(unet: Callable[..., tuple[torch.Tensor]], inputs: UNetInputs) -> tuple[torch.Tensor]:
    return unet(
        inputs.sample,
        inputs.timestep,
        encoder_hidden_states=inputs.encoder_hidden_states,
        timestep_cond=inputs.timestep_cond,
        added_cond_kwargs={"text_embeds": inputs.text_embeds, "time_ids": inputs.time_ids},
        return_dict=False,
    )
