"""`leyden serve`: the server in the foreground, from first line to last."""

import argparse
import io
import signal
import sys
import threading
import time
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Self

from leyden_server.address import ReservedAddress
from leyden_server.config import ServerConfig
from leyden_server.errors import StartupError
from leyden_server.generations.log_file import LogFollower
from leyden_server.model_repository import ModelRepository

__all__ = ["serve"]

FOLLOW_PERIOD_S = 0.2


def serve(args: argparse.Namespace) -> int:
    """Serve until a signal comes; return 0 after a clean stop, 1 where it could not start."""
    started = time.monotonic()
    stdout = sys.stdout

    def report(what: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {what}", file=sys.stderr, flush=True)

    try:
        _interrupt_on_signals()
        with ExitStack() as stack:
            config = _config(args)
            # What the options can be wrong in is said before Ray is imported, which takes seconds.
            repository = ModelRepository(config.model_repository)
            for name in config.models:
                repository.resolve(name)
            address = stack.enter_context(ReservedAddress(config.gateway.host, config.gateway.port))
            report("importing Ray")
            from leyden_server.controller.ray_environment import set_ray_environment

            set_ray_environment()
            from leyden_server.controller.launcher import LeydenServer

            # Ray prints to stdout; there the ready line alone belongs.
            stack.enter_context(redirect_stdout(sys.stderr))
            server = stack.enter_context(
                LeydenServer(
                    config,
                    report,
                    follow=stack.enter_context(_Echo()).follow,
                    repository=repository,
                    address=address,
                )
            )
            report("ready")
            print(f"ready: grpc {server.address}", file=stdout, flush=True)
            _wait_for_signal()
            timeout_s = config.gateway.drain_timeout_s
            report(f"draining, {timeout_s:g} s at most; press Ctrl-C again to stop at once")
            # While it is taken down, Ray reports each actor that it ends as a failure.
            sys.stdout = io.StringIO()
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        report("stopped at once")
        return 130
    report("stopped")
    return 0


def _config(args: argparse.Namespace) -> ServerConfig:
    config = ServerConfig() if args.config is None else ServerConfig.load(args.config)
    gateway = {"host": args.host, "port": args.port}
    options = {
        "gateway": {key: value for key, value in gateway.items() if value is not None},
        "models": args.model,
        "model_repository": args.model_repository,
    }
    return config.replace(**{key: value for key, value in options.items() if value})


def _wait_for_signal() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _interrupt_on_signals() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt, twice; a third changes nothing more."""
    remaining = 2

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining >= 0:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


class _Echo:
    """Copies what is appended to the request log to stderr until it is left."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def follow(self, path: Path) -> None:
        """Begin with what comes now."""
        follower = LogFollower(path)
        self._thread = threading.Thread(
            target=self._echo, args=(follower,), name="request-log", daemon=True
        )
        self._thread.start()

    def _echo(self, follower: LogFollower) -> None:
        with closing(follower):
            stopping = False
            while not stopping:
                stopping = self._stop.wait(FOLLOW_PERIOD_S)
                sys.stderr.write(follower.read())
                sys.stderr.flush()
