"""Forwards captured as CUDA graphs: all their kernels are launched at once, not one by one.

A graph is bound to the shapes and addresses of its inputs, so each captured forward has input
buffers of its own, and batches of other numbers of rows are padded to the next number that has one.

The graphs are captured here rather than by `torch.compile(mode="reduce-overhead")`, whose
graphs belong to the thread that made them, share their outputs' memory with the next replay,
and are left out without an error where torch finds a reason to.
"""

from collections.abc import Callable, Sequence

import torch

from leyden_server.errors import ConfigError

__all__ = [
    "BufferedForward",
    "CapturedForward",
    "Forward",
    "GraphMemory",
    "chosen_execution",
    "padded_rows",
]

RUNS_BEFORE_CAPTURE = 3
"""The first run compiles and tunes, which no capture allows; the others are for what cuDNN,
cuBLAS and Triton still do lazily after it."""

Forward = Callable[..., tuple[torch.Tensor, ...]]


def chosen_execution(asked: str, device: torch.device, *, setting: str, without_graphs: str) -> str:
    """Return what `auto` comes to on a device, anything else as it is.

    Raises:
        ConfigError: graphs are asked for and the device has none.

    """
    if asked == "auto":
        return "cuda_graphs" if device.type == "cuda" else "eager"
    if asked.endswith("cuda_graphs") and device.type != "cuda":
        raise ConfigError(
            f"{setting}: {asked} needs a CUDA device and this stage is on {device.type}; "
            f"{without_graphs} run there"
        )
    return asked


def padded_rows(rows: int) -> int:
    """Return the next power of two, so that few numbers of rows are ever prepared."""
    return 1 << (rows - 1).bit_length()


class InputBuffers:
    """Copies of a forward's first inputs, which those of each run are copied into."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        self.tensors = tuple(_buffer_like(tensor) for tensor in inputs)
        self.fill(inputs)

    def fill(self, inputs: Sequence[torch.Tensor]) -> None:
        """Copy inputs of the same shapes."""
        for buffer, tensor in zip(self.tensors, inputs, strict=True):
            buffer.copy_(tensor)


class BufferedForward:
    """A forward that always reads the same buffers.

    Compiled code is bound to the strides of its inputs too, and would be compiled again in
    the middle of serving where a batch's happen to differ.
    """

    def __init__(self, forward: Forward, inputs: Sequence[torch.Tensor]) -> None:
        self._forward = forward
        self._buffers = InputBuffers(inputs)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the forward gives for inputs of the first ones' shapes."""
        self._buffers.fill(inputs)
        return self._forward(*self._buffers.tensors)


class GraphMemory:
    """What the graphs of one model share: the stream they are captured on, and their memory.

    They may share memory because they never run at once and each output is copied out before
    the next replay. One graph's memory is then reused by all others, which for a UNet's
    largest batch is several GB.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch's own
        self.pool = torch.cuda.graph_pool_handle()


class CapturedForward:
    """A forward that is captured once and replayed from then on, on its caller's stream."""

    def __init__(
        self, forward: Forward, inputs: Sequence[torch.Tensor], memory: GraphMemory
    ) -> None:
        self._buffers = InputBuffers(inputs)
        caller = torch.cuda.current_stream(memory.stream.device)
        memory.stream.wait_stream(caller)
        with torch.cuda.stream(memory.stream):
            for _ in range(RUNS_BEFORE_CAPTURE):
                forward(*self._buffers.tensors)
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads of the process do with CUDA meanwhile is no error.
        with torch.cuda.graph(
            self._graph,
            pool=memory.pool,
            stream=memory.stream,
            capture_error_mode="thread_local",
        ):
            # Kept: a capture that comes later must not put its own tensors in this place.
            self._outputs = forward(*self._buffers.tensors)
        caller.wait_stream(memory.stream)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs, contiguous, in memory that is the caller's."""
        self._buffers.fill(inputs)
        self._graph.replay()
        return tuple(
            output.clone(memory_format=torch.contiguous_format) for output in self._outputs
        )


def _buffer_like(tensor: torch.Tensor) -> torch.Tensor:
    # As the weights of convolutions are laid.
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return torch.empty_like(tensor, memory_format=layout)
