"""Child processes that render a dataset's shards, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np

from leyden_training.data.items import Item
from leyden_training.data.render import render


def render_shards(jobs: list[tuple[Path, list[Item]]], workers: int) -> Iterator[int]:
    """Render each job's items into its shard; yield now and then how many pictures are new."""
    if not jobs:
        return
    context = multiprocessing.get_context("spawn")
    rendered = context.Value("q", 0)
    executor = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (rendered,))
    told = 0
    try:
        with _interrupts_held():
            pending: set[Future[None]] = {executor.submit(_render_shard, *job) for job in jobs}
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            count = rendered.value
            yield count - told
            told = count
    except BaseException:
        # The executor has no public way to end a running job before Python 3.14.
        children = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        for child in children:
            child.join()
        for path, _ in jobs:
            path.with_suffix(".part").unlink(missing_ok=True)
        raise
    executor.shutdown()


def _render_shard(path: Path, items: list[Item]) -> None:
    part = path.with_suffix(".part")
    shape = (len(items), items[0].height_px, items[0].width_px, 3)
    pictures = np.empty(shape, np.uint8)
    for row, item in enumerate(items):
        pictures[row] = render(
            item.scene, width_px=item.width_px, height_px=item.height_px, seed=item.render_seed
        )
        with _progress.rendered.get_lock():
            _progress.rendered.value += 1
    with part.open("wb") as file:
        np.save(file, pictures)
    part.replace(path)


class _Progress:
    """A worker's link to its parent's count of pictures, set by `_begin`."""

    rendered: Synchronized[int]


_progress = _Progress()


def _begin(rendered: Synchronized[int]) -> None:
    """Start a worker: it counts its pictures, and ends when the parent is gone, however."""
    _progress.rendered = rendered
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent.sentinel,), daemon=True).start()


def _leave_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while workers start, so that none is left half started.

    Workers inherit the blocked signal: a Ctrl-C in a terminal, which goes to the whole group,
    is the parent's alone to answer. The parent has other threads that would take the signal
    all the same, so there it is kept by a handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C is raised in the main thread only
        return
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)
