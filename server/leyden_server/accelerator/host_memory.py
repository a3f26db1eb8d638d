"""Memory that a model on a CPU frees and at once asks for again.

glibc's malloc gives a large block back to the kernel when it is freed, and the kernel clears
every page of the next one as it is first touched. What a model's layers pass to each other is
such blocks: of the embedded model's VAE, 5,200 pages of 4 KiB were new in each decode of
256 x 256 px, and 343,000 in one of 1024 x 1024 px, which took 1.46 times as long for it.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

__all__ = ["keep_freed_memory", "model_thread", "return_freed_memory"]

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
"""Of glibc's malloc.h."""

LARGEST_KEPT_BYTES = 2**30
"""Blocks up to this size come of the heap."""
STEP_BYTES = 64 * 2**20
"""What a heap grows by, at least; it is not in memory until it is touched."""
KEPT_BYTES = 2**31 - 1
"""What a heap may hold that is free; mallopt takes an int."""

SETTINGS = (
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""An operator's own, by environment; GLIBC_TUNABLES has the same as glibc.malloc."""

HEAPS = 256
"""How many threads are begun for the first heap at most: glibc has up to 8 heaps for each core, and
a replica has a dozen or two. Where none of them has it, the last is taken."""


@cache
def keep_freed_memory() -> bool:
    """Let this process's malloc keep what is freed; tell whether it does.

    Nothing is changed where models run on a GPU, whose weights pass through this memory once; where
    the operator has set the same in the environment; or where malloc is not glibc's. What the
    process holds at rest is then what it held at most, until `return_freed_memory`. It is of use
    to threads whose memory comes of the first heap: the others' come in pieces of 64 MiB
    (HEAP_MAX_SIZE in glibc's arena.c), a larger block is mapped whatever is set, and a piece that
    has become free is given back.
    """
    if torch.cuda.is_available() or any(name in os.environ for name in SETTINGS):
        return False
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = {
        M_MMAP_THRESHOLD: LARGEST_KEPT_BYTES,
        M_TRIM_THRESHOLD: KEPT_BYTES,
        M_TOP_PAD: STEP_BYTES,
        M_ARENA_MAX: 1,  # of threads that are yet to come
    }
    is_set = [libc.mallopt(name, value) for name, value in settings.items()]
    return all(is_set)


def return_freed_memory() -> None:
    """Give the kernel back what malloc keeps; nothing, where malloc is not glibc's."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def model_thread(name: str, initializer: Callable[[], object] | None = None) -> ThreadPoolExecutor:
    """Return an executor of one thread, for a model; it runs `initializer` first.

    Where freed memory is kept, the thread's comes of the first heap. A new thread is given the
    heaps that are there in turn, and nobody can choose one: so threads are begun until one has the
    first, and the others end.
    """
    if not keep_freed_memory():
        return ThreadPoolExecutor(1, name, initializer)
    others = []
    try:
        for _ in range(HEAPS):
            executor = ThreadPoolExecutor(1, name, initializer)
            if executor.submit(_has_first_heap).result():
                return executor
            others.append(executor)
        return others.pop()
    finally:
        for other in others:
            other.shutdown()


def _has_first_heap() -> bool:
    """Tell whether what this thread is given lies below the program break, as the first heap."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_size_t
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_size_t]
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    block = libc.malloc(1024)
    end = libc.sbrk(0)
    libc.free(block)
    return bool(block < end)
