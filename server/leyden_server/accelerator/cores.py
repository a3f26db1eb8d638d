"""The cores of a CPU, as the stages of one process share them.

Each stage has a thread of its own with one core. Where only one of them works, as with a single
client, the others' cores would be idle: its run is then handed to a thread that has them all.
That thread is the only one of the process whose torch operators have several: `torch_thread` says
what several such threads cost. The sums of a run are then in another order, so a pixel may be
another by 1 of 255 than with one core.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from leyden_server.accelerator.host_memory import model_thread

__all__ = ["CoreShare", "Cores", "available_cores"]

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

QUIET_S = 0.25
"""For so long nobody has all cores after two stages have wanted them at once: with work enough for
all, a core each is better than all in turn."""
RUNS = 3
GAIN = 0.9
"""More threads are worth it where a run takes this share of its time or less."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
NEWEST_SHARE = 0.3
MOST_KNOWN = 256

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def available_cores(cpu_max: Path = CPU_MAX) -> int:
    """Return how many cores this process may use: those it is bound to, and what its cgroup has.

    `cpu_max` is the cgroup's file (https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max):
    a quota, or "max", and a period, both in microseconds. A container's limit is there.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = bound or 1
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        limit = cores if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        return cores
    return max(1, min(cores, limit))


class Cores:
    """Who works, and who may have all cores; safe for all threads."""

    def __init__(
        self, count: int | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`count` is how many there are; None: those that this process may use."""
        self.count = available_cores() if count is None else count
        self.clock = clock
        self._changed = threading.Condition()
        self._waiting = 0
        self._working = 0
        self._has_all = False
        self._shared_s = -QUIET_S
        """When two wanted to work at once for the last time."""
        self._all_cores = model_thread("all-cores")

    def share(self) -> "CoreShare":
        """Return what one stage works by."""
        return CoreShare(self)

    def run_with_all(self, threads: int, run: Callable[[], Result]) -> Result:
        """Run `run` with so many torch threads, whoever else works."""

        def with_threads() -> Result:
            torch.set_num_threads(threads)
            return run()

        return self._all_cores.submit(with_threads).result()

    def begin(self, *, may_have_all: bool) -> bool:
        """Note that somebody works now; True: nobody else does, and all cores are theirs.

        Waits while somebody has all of them, which is for one run at the most.
        """
        with self._changed:
            if self._working:
                self._shared_s = self.clock()
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._has_all)
            self._waiting -= 1
            self._working += 1
            is_alone = self._working == 1 and self.clock() - self._shared_s >= QUIET_S
            self._has_all = may_have_all and is_alone
            return self._has_all

    def end(self) -> None:
        """Note that somebody has done their work."""
        with self._changed:
            self._working -= 1
            # Whoever had all of them was alone.
            self._has_all = False
            self._changed.notify_all()

    def wait_for_waiting(self, count: int, timeout_s: float) -> bool:
        """Return once so many wait for somebody's run with all cores to end; False: not so soon."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting >= count, timeout_s)

    def stop(self) -> None:
        """End the thread that has all cores once what it runs is done."""
        self._all_cores.shutdown()


class CoreShare:
    """Runs one stage's model: with one core, or with all where no other stage works.

    For one thread. Threads that share a run wait for each other at each operator, so on cores that
    other processes want as well it may take many times as long as with one core. Each run with all
    is therefore held against those with one, and after one that gained nothing there is a pause.
    """

    def __init__(self, cores: Cores | None = None) -> None:
        """Without `cores` everything runs in its caller's thread."""
        self.threads = 1
        """How many are worth it where all cores are there, as measured."""
        self._cores = cores
        self._one_core_s: dict[Hashable, float] = {}
        self._pause_s = FIRST_PAUSE_S
        self._paused_until_s = 0.0

    def measure(self, run: Callable[[], float]) -> None:
        """Double the threads until `run`, which returns the seconds of a run, gains no more."""
        if self._cores is None:
            return
        cores = self._cores

        def fastest(threads: int) -> float:
            # On a shared machine a slower one has somebody else's work in it.
            return min(cores.run_with_all(threads, run) for _ in range(RUNS))

        seconds = {1: fastest(1)}
        while self.threads < cores.count:
            threads = min(2 * self.threads, cores.count)
            seconds[threads] = fastest(threads)
            if seconds[threads] > GAIN * seconds[self.threads]:
                break
            self.threads = threads
        timings = {threads: round(taken, 4) for threads, taken in seconds.items()}
        logger.info("alone with %d cores; seconds %s", self.threads, timings)

    def run(
        self,
        what: Hashable,
        run: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run `run` and return its result; raises what it raises.

        It may run in another thread. `what` tells runs apart that take different times.
        """
        cores = self._cores
        if cores is None:
            return run(*args, **kwargs)
        # What a run takes with one core is to be known first.
        may_have_all = (
            self.threads > 1 and what in self._one_core_s and cores.clock() >= self._paused_until_s
        )
        has_all = cores.begin(may_have_all=may_have_all)
        try:
            started_s = cores.clock()
            if has_all:
                result = cores.run_with_all(self.threads, lambda: run(*args, **kwargs))
            else:
                result = run(*args, **kwargs)
            now_s = cores.clock()
        finally:
            cores.end()
        if has_all:
            self._judge(what, now_s - started_s, now_s)
        else:
            self._note(what, now_s - started_s)
        return result

    def _judge(self, what: Hashable, took_s: float, now_s: float) -> None:
        if took_s <= GAIN * self._one_core_s[what]:
            self._pause_s = FIRST_PAUSE_S
            return
        self._paused_until_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _note(self, what: Hashable, took_s: float) -> None:
        before_s = self._one_core_s.pop(what, took_s)
        self._one_core_s[what] = before_s + NEWEST_SHARE * (took_s - before_s)
        if len(self._one_core_s) > MOST_KNOWN:
            del self._one_core_s[next(iter(self._one_core_s))]
