"""Whether a model's runs still succeed, and which of their failures are for want of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["MAX_FAILED_IN_A_ROW", "RunHealth", "memory_errors"]

MAX_FAILED_IN_A_ROW = 3

OUT_OF_MEMORY = ("can't allocate memory", "out of memory")
"""What torch says where its error is no torch.OutOfMemoryError: on a CPU, and where the device
refused somebody other than torch's allocator."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn every kind of torch's errors of too little memory into a MemoryError."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError too
        if isinstance(error, torch.OutOfMemoryError) or any(
            text in str(error) for text in OUT_OF_MEMORY
        ):
            raise MemoryError(str(error)) from error
        raise


class RunHealth:
    """Counts failed runs. One thread runs the model and notes; any thread may check.

    A MemoryError counts neither way: it says how large a run was, not how the device is.
    """

    def __init__(self) -> None:
        self._failed_in_a_row = 0
        self._lost: str | None = None

    def note_success(self) -> None:
        """Take note of a run that succeeded."""
        self._failed_in_a_row = 0

    def note_failure(self, error: Exception) -> None:
        """Take note of a run that failed."""
        if isinstance(error, MemoryError):
            return
        self._failed_in_a_row += 1
        if isinstance(error, torch.AcceleratorError):
            self._lost = str(error).strip().partition("\n")[0]

    def check(self) -> None:
        """Raise RuntimeError where only a new process can help."""
        if self._lost is not None:
            # A CUDA error stays in its process: every run after it fails too.
            raise RuntimeError(f"the device is lost to this process: {self._lost}")
        if self._failed_in_a_row >= MAX_FAILED_IN_A_ROW:
            raise RuntimeError(f"the last {self._failed_in_a_row} runs of the model have failed")
