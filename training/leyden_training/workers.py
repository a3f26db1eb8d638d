"""Data-parallel workers: one process a CPU core, or one process with a GPU.

Two processes of one thread each train a model of this size nearly twice as fast as one
process of two threads: its kernels are too small to be shared.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

__all__ = ["STOPPING", "Workers", "on_device", "run_workers", "worker_count"]


STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Signals that tell a run to stop."""

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@dataclass(frozen=True)
class Workers:
    """The process's place among the workers."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this worker writes files and shows progress."""
        return self.rank == 0

    def sum(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over all workers."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        offset = 0
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over all workers."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        self.sum(gradients)
        for gradient in gradients:
            gradient.div_(self.count)

    def any(self, flag: bool) -> bool:
        """Whether any worker says so."""
        if self.count == 1:
            return flag
        votes = torch.tensor([float(flag)])
        dist.all_reduce(votes)
        return bool(votes.item())


def on_device(module: AnyModule, device: torch.device) -> AnyModule:
    """Move a module to a device, its convolutions channels last, in place."""
    movable: Any = module  # torch's types do not know memory_format here
    movable.to(device, memory_format=torch.channels_last)
    return module


def run_workers(
    work: Callable[..., None], arguments: Mapping[str, object], count: int | None = None
) -> None:
    """Call `work(workers, **arguments)` in every worker and wait for all of them.

    SIGINT and SIGTERM to this process are the workers' to answer. Signal handlers and the number
    of threads that the only worker, which runs in this process, sets, are undone.

    Args:
        work: a module-level function.
        arguments: picklable keyword arguments, the same for all.
        count: number of workers; one with a GPU, else one for each core that may be used.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a worker failed.

    """
    count = worker_count(count)
    if count == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with _signals_given_back(), _one_thread(device):
            work(Workers(0, 1, device), **arguments)
        return
    with _signals_given_back(), tempfile.TemporaryDirectory() as folder:
        rendezvous = Path(folder) / "rendezvous"
        # A worker starts with both signals blocked, and lets in what has come when it can answer:
        # with its `StopRequest`. The tracker, as it starts, would let them in before.
        resource_tracker.ensure_running()
        with _signals_held() as held:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
            try:
                context: Any = spawn(
                    _worker, (count, rendezvous, work, dict(arguments)), count, join=False
                )
                _pass_on_signals(context.processes)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number in held:
            signal.raise_signal(number)
        while not context.join():
            pass


def worker_count(asked: int | None = None) -> int:
    """Return how many workers there will be: one with a GPU, else what is asked or the cores."""
    if torch.cuda.is_available():
        return 1
    return asked or len(os.sched_getaffinity(0))


def _pass_on_signals(processes: Iterable[BaseProcess]) -> None:
    """Let the workers decide what a signal to this process means."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        for process in processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, number)

    for number in STOPPING:
        signal.signal(number, pass_on)


@contextmanager
def _signals_held() -> Iterator[list[int]]:
    """Keep the signals that come until there is somebody to answer them.

    Blocking is each thread's own: torch's and BLAS's other threads would take a signal, and it
    would end the process.
    """
    held: list[int] = []
    for number in STOPPING:
        signal.signal(number, lambda number, _: held.append(number))
    yield held


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """One thread of a CPU, as each of several workers has; what comes after has its own again."""
    before = torch.get_num_threads()
    try:
        if device.type == "cpu":
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _signals_given_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(
    rank: int,
    count: int,
    rendezvous: Path,
    work: Callable[..., None],
    arguments: Mapping[str, object],
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=count)
    try:
        work(Workers(rank, count, torch.device("cpu")), **arguments)
    finally:
        dist.destroy_process_group()
