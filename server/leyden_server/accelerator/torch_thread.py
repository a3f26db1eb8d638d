"""The one thread of a stage's process in which torch uses more than one core.

libgomp, torch's OpenMP on Linux, lets idle threads spin between two parallel regions, but
only while a process has no more of them than there are cores. A second Python thread that
enters a parallel region brings threads of its own, the spinning stops, and each of a UNet's
thousand regions then waits for a wake-up: on two cores a step of an early embedded model took
29 ms in place of 16. So models are loaded, warmed up and run in one thread, and every other
thread of the process has torch to itself with one core.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import ParamSpec, TypeVar

import torch

from leyden_server.accelerator.host_memory import model_thread
from leyden_server.accelerator.run_health import RunHealth, memory_errors
from leyden_server.stages.busy import BusyClock

__all__ = ["TorchThread"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class TorchThread:
    """Runs functions one after another in a thread with `threads` torch threads.

    torch's errors of too little memory come out of it as MemoryErrors.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._started_s: float | None = None
        self._health = RunHealth()
        self.busy = BusyClock()
        """When what was submitted has run."""
        self._executor = model_thread(name, partial(torch.set_num_threads, threads))
        self._executor.submit(torch.get_num_threads).result()
        # From now on what other threads of the process are given when they first use torch.
        torch.set_num_threads(1)

    def submit(
        self,
        run: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> "Future[Result]":
        """Run `run` when those before it are done."""

        def timed() -> Result:
            self._started_s = time.monotonic()
            try:
                with self.busy.running(), memory_errors():
                    result = run(*args, **kwargs)
            except Exception as error:
                self._health.note_failure(error)
                raise
            finally:
                self._started_s = None
            self._health.note_success()
            return result

        return self._executor.submit(timed)

    def check_health(self, stall_timeout_s: float) -> None:
        """Raise RuntimeError where the last runs failed, or one has run for longer than that."""
        self._health.check()
        started_s = self._started_s
        if started_s is not None and time.monotonic() - started_s > stall_timeout_s:
            raise RuntimeError(f"the model has run for over {stall_timeout_s} s")

    def run(
        self,
        run: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run `run` and wait for its result; raises what it raises."""
        return self.submit(run, *args, **kwargs).result()

    async def arun(
        self,
        run: Callable[Parameters, Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run `run` and await its result; raises what it raises."""
        return await asyncio.wrap_future(self.submit(run, *args, **kwargs))

    def stop(self) -> None:
        """End the thread once all that was submitted is done."""
        self._executor.shutdown()
