"""Starts a Ray of our own, or joins one that runs; says in one line why neither was possible."""

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

import ray
from ray._private.node import Node

from leyden_server.config import RayConfig
from leyden_server.controller.ray_environment import set_ray_environment
from leyden_server.errors import StartupError
from leyden_server.stages.ray_handle import SERVE_ENVIRONMENT

__all__ = ["start_ray"]

TRIES = 3
"""Of a Ray of our own. It gives its node 30 s to appear, whatever the settings say (Ray 2.60)."""

PROBE_TIMEOUT_S = 5.0
MAX_REASON_CHARS = 300


def start_ray(config: RayConfig, report: Callable[[str], None]) -> None:
    """Connect this process to a Ray; `report` is told of a try that failed.

    Raises:
        StartupError: none can be started, or there is none at `ray.address`.

    """
    set_ray_environment()
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with _own_signal_handlers():
        if config.address == "local":
            _start(config, report)
        else:
            _join(config.address)


def _start(config: RayConfig, report: Callable[[str], None]) -> None:
    started_s = time.monotonic()
    for left in reversed(range(TRIES)):
        try:
            with _environment(SERVE_ENVIRONMENT):  # which its processes inherit
                ray.init(
                    address="local",
                    num_cpus=config.num_cpus,
                    num_gpus=config.num_gpus,
                    object_store_memory=config.object_store_memory_bytes,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
        except Exception as error:  # Ray raises a bare one where its node does not appear
            _end_processes(error.__traceback__)
            ray.shutdown()
            took_s = time.monotonic() - started_s
            load, cpus = os.getloadavg()[0], os.cpu_count()
            why = f"{_line(error)} (the machine's load is {load:.1f} on {cpus} CPUs)"
            if left == 0:
                raise StartupError(
                    f"Ray did not start in {TRIES} tries and {took_s:.0f} s: {why}; end other "
                    "work, or lower ray.num_cpus, which starts fewer processes"
                ) from error
            report(f"Ray did not start: {why}; trying again")
        else:
            return


def _join(address: str) -> None:
    host, _, port = address.rpartition(":")
    if host:
        # Ray itself would try for a minute, and report each try.
        try:
            socket.create_connection((host.strip("[]"), int(port)), PROBE_TIMEOUT_S).close()
        except OSError as error:
            raise _cannot_join(address, error.strerror or "it does not answer") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise _cannot_join(address, _line(error)) from error


def _cannot_join(address: str, why: str) -> StartupError:
    return StartupError(
        f"ray.address: cannot join a Ray at {address}: {why}; start one there with 'ray start "
        "--head', or set ray.address to local"
    )


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what processes that are started meanwhile inherit; this process keeps its own."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put back the handlers that Ray replaces by its own; until then its SIGTERM counts as ours."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: Ray has set none either
            for number, handler in zip(numbers, handlers, strict=True):
                if handler is not None:  # None: not set by Python, which cannot set it back
                    signal.signal(number, handler)


def _end_processes(traceback: TracebackType | None) -> None:
    """End the processes of a node that did not come up; nobody but the traceback has it."""
    while traceback is not None:
        node = traceback.tb_frame.f_locals.get("self")
        if isinstance(node, Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            return
        traceback = traceback.tb_next


def _line(error: BaseException) -> str:
    """Return an error's text in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:MAX_REASON_CHARS].removesuffix(".")
