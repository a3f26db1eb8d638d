"""`leyden serve`: the server in the foreground, from first line to last."""

import argparse
import io
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from types import FrameType

from leyden_server.config import ServerConfig
from leyden_server.errors import StartupError

__all__ = ["serve"]

FOLLOW_PERIOD_S = 0.2


def serve(args: argparse.Namespace) -> int:
    """Serve until a signal comes; return 0 after a clean stop, 1 where it could not start."""
    started = time.monotonic()
    stdout = sys.stdout

    def report(what: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {what}", file=sys.stderr, flush=True)

    try:
        config = _config(args)
        # After the options are known to be right: these imports take seconds.
        report("importing Ray")
        from leyden_server.controller.launcher import LeydenServer

        _interrupt_on_signals()
        # Ray prints to stdout; there the ready line alone belongs.
        with (
            redirect_stdout(sys.stderr),
            ExitStack() as afterwards,
            LeydenServer(config, report) as server,
        ):
            _interrupt_on_signals()  # Ray has put its own handler in place of ours
            afterwards.callback(_follow(server.request_log))
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


def _follow(path: Path) -> Callable[[], None]:
    """Copy what is appended to `path` to stderr until the returned function is called."""
    stop = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as log:
            while True:
                stopping = stop.wait(FOLLOW_PERIOD_S)
                sys.stderr.write(log.read())
                sys.stderr.flush()
                if stopping:
                    return

    thread = threading.Thread(target=follow, name="request-log", daemon=True)
    thread.start()

    def finish() -> None:
        stop.set()
        thread.join()

    return finish
