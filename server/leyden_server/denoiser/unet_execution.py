"""How a UNet forward runs: eagerly, compiled, captured as a CUDA graph, or both.

A graph is captured for one shape of inputs, called a bucket here: so many rows at one latent
size. Code is compiled for one size, once for a single row and once for all numbers above. The
warm-up prepares buckets; inputs of any other shape run eagerly, so that no request ever waits
for a compiler.

The graphs are captured here rather than by `torch.compile(mode="reduce-overhead")`, whose
graphs belong to the thread that made them, share their outputs' memory with the next replay,
and are left out without an error where torch finds a reason to.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel

from leyden_server.config import UNetExecution
from leyden_server.errors import ConfigError
from leyden_server.stages.compiler import any_number_of_rows, compiled, explained

__all__ = ["Bucket", "UNetExecutor", "UNetInputs"]

logger = logging.getLogger(__name__)

RUNS_BEFORE_CAPTURE = 3
"""The first run compiles and tunes, which no capture allows; the others are for what cuDNN,
cuBLAS and Triton still do lazily after it."""

Bucket = tuple[torch.Size, ...]


class UNetInputs(NamedTuple):
    """What one UNet forward reads, for P rows. All but `timestep` in the UNet's dtype."""

    sample: torch.Tensor
    """(P, C, H, W)."""
    timestep: torch.Tensor
    """(P,) float32."""
    encoder_hidden_states: torch.Tensor
    """(P, 77, D)."""
    text_embeds: torch.Tensor
    """(P, pooled width)."""
    time_ids: torch.Tensor
    """(P, 6)."""

    @property
    def bucket(self) -> Bucket:
        """The shapes that a prepared forward is made for."""
        return tuple(tensor.shape for tensor in self)


Forward = Callable[[UNetInputs], torch.Tensor]


class UNetExecutor:
    """Runs a UNet. One thread warms it up and uses it: graphs replay on its stream."""

    def __init__(self, unet: UNet2DConditionModel, execution: UNetExecution) -> None:
        """Raise ConfigError where the device cannot run so."""
        if execution == "auto":
            execution = "cuda_graphs" if unet.device.type == "cuda" else "eager"
        self.execution: UNetExecution = execution
        """What `auto` has come to."""
        self._unet = unet
        self._prepared: dict[Bucket, Forward] = {}
        self._graph_memory: _GraphMemory | None = None
        if execution in ("cuda_graphs", "compile_cuda_graphs"):
            if unet.device.type != "cuda":
                raise ConfigError(
                    f"denoiser.unet_execution: {execution} needs a CUDA device and the UNet is "
                    f"on {unet.device.type}; auto, eager and compile run there"
                )
            self._graph_memory = _GraphMemory(unet.device)
        self._compiles = execution in ("compile", "compile_cuda_graphs")
        if self._compiles:
            self._compiled = compiled(unet)

    @property
    def prepared(self) -> frozenset[Bucket]:
        """The buckets that do not run eagerly."""
        return frozenset(self._prepared)

    @torch.inference_mode()
    def __call__(self, inputs: UNetInputs) -> torch.Tensor:
        """Return the prediction (P, C, H, W), contiguous, in memory that is the caller's."""
        forward = self._prepared.get(inputs.bucket, self._run_eagerly)
        return forward(inputs).contiguous()

    @torch.inference_mode()
    def prepare(self, inputs: UNetInputs) -> None:
        """Make the bucket of `inputs` run as configured, by running it a few times.

        Raises:
            ConfigError: the UNet does not compile here.
            torch.OutOfMemoryError: the device has not enough memory for the bucket.

        """
        if self.execution == "eager" or inputs.bucket in self._prepared:
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
            return _CapturedForward(forward, inputs, self._graph_memory)
        buffered = _BufferedForward(forward, inputs)
        buffered(inputs)
        return buffered

    def _run_eagerly(self, inputs: UNetInputs) -> torch.Tensor:
        return _forward(self._unet, inputs)

    def _run_compiled(self, inputs: UNetInputs) -> torch.Tensor:
        any_number_of_rows(*inputs)
        return _forward(self._compiled, inputs)


class _BufferedForward:
    """A forward with input buffers of its own, which each run's inputs are copied into.

    Compiled code is bound to the strides of its inputs too, and would be compiled again in
    the middle of serving where a batch's happen to differ; a graph is bound to addresses.
    """

    def __init__(self, forward: Forward, inputs: UNetInputs) -> None:
        self._forward = forward
        self._buffers = UNetInputs(*(_buffer_like(tensor) for tensor in inputs))
        self._fill(inputs)

    def __call__(self, inputs: UNetInputs) -> torch.Tensor:
        self._fill(inputs)
        return self._forward(self._buffers)

    def _fill(self, inputs: UNetInputs) -> None:
        for buffer, tensor in zip(self._buffers, inputs, strict=True):
            buffer.copy_(tensor)


class _GraphMemory:
    """What the graphs of one UNet share: the stream they are captured on, and their memory.

    They may share memory because they never run at once and each output is copied out before
    the next replay. One graph's memory is then reused by all others, which for the largest
    batch is several GB.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's own
        self.pool = torch.cuda.graph_pool_handle()


class _CapturedForward(_BufferedForward):
    """A forward that is captured once and replayed from then on."""

    def __init__(self, forward: Forward, inputs: UNetInputs, memory: _GraphMemory) -> None:
        super().__init__(forward, inputs)
        caller = torch.cuda.current_stream(memory.stream.device)
        memory.stream.wait_stream(caller)
        with torch.cuda.stream(memory.stream):
            for _ in range(RUNS_BEFORE_CAPTURE):
                forward(self._buffers)
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads of the process do with CUDA meanwhile is no error.
        with torch.cuda.graph(
            self._graph,
            pool=memory.pool,
            stream=memory.stream,
            capture_error_mode="thread_local",
        ):
            # Kept: a capture that comes later must not put its own tensors in this place.
            self._output = forward(self._buffers)
        caller.wait_stream(memory.stream)

    def __call__(self, inputs: UNetInputs) -> torch.Tensor:
        self._fill(inputs)
        self._graph.replay()
        return self._output.clone(memory_format=torch.contiguous_format)


def _buffer_like(tensor: torch.Tensor) -> torch.Tensor:
    # As the UNet's weights are laid.
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return torch.empty_like(tensor, memory_format=layout)


def _forward(unet: Callable[..., tuple[torch.Tensor]], inputs: UNetInputs) -> torch.Tensor:
    return unet(
        inputs.sample,
        inputs.timestep,
        encoder_hidden_states=inputs.encoder_hidden_states,
        added_cond_kwargs={"text_embeds": inputs.text_embeds, "time_ids": inputs.time_ids},
        return_dict=False,
    )[0]
