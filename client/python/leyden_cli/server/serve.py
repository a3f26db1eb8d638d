"""`leyden serve`: the server in the foreground, from first line to last."""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Self

from leyden_cli.server.interrupts import interrupt_on_signals
from leyden_cli.server.request_lines import shown_as
from leyden_server.address import ReservedAddress
from leyden_server.config import DEFAULT_WEB_PORT, ServerConfig
from leyden_server.controller.metrics_address import MetricsAddress, metrics_port
from leyden_server.controller.web_address import WebAddress
from leyden_server.errors import ConfigError, StartupError
from leyden_server.gateway.door import check_files
from leyden_server.gateway.tracing import check_tracing
from leyden_server.generations.log_file import LogFollower
from leyden_server.model_repository import ModelRepository

if TYPE_CHECKING:
    from leyden_server.controller.in_process import InProcessServer
    from leyden_server.controller.launcher import LeydenServer

__all__ = ["serve"]

FOLLOW_PERIOD_S = 0.2

MAX_PORT = 65535

EXIT_DEFECT = 70
"""EX_SOFTWARE of sysexits.h: a defect that only a new process gets rid of."""


def serve(args: argparse.Namespace) -> int:
    """Serve until a signal comes; return 0 after a clean stop, 1 where it could not start."""
    started = time.monotonic()
    stdout = sys.stdout

    def report(what: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {what}", file=sys.stderr, flush=True)

    config = ServerConfig()
    try:
        interrupt_on_signals()
        with ExitStack() as stack:
            config = _config(args)
            # What the options can be wrong in is said before Ray is imported, which takes seconds.
            repository = ModelRepository(config.model_repository)
            if args.print_serve_config:  # weights, keys and certificates may be elsewhere
                _print_serve_config(config, repository)
                return 0
            for name in config.models:
                repository.resolve(name)
            check_tracing(config.gateway)
            check_files(config.gateway)
            address = stack.enter_context(ReservedAddress(config.gateway.host, config.gateway.port))
            page = None
            if metrics_port(config.gateway) is not None:
                page = stack.enter_context(MetricsAddress(config.gateway))
            web = None
            if config.gateway.web_port is not None:
                web = stack.enter_context(WebAddress(config.gateway))
            # What libraries print goes to stderr: on stdout the ready line alone belongs.
            stack.enter_context(redirect_stdout(sys.stderr))
            start = _server_of(config, report)
            server = start(
                config,
                report,
                follow=stack.enter_context(_Echo(_shown(config))).follow,
                repository=repository,
                address=address,
                metrics_address=page,
                web_address=web,
            )
            stack.enter_context(server)
            if server.metrics_url:
                report(f"metrics: {server.metrics_url}")
            if server.web_url:
                report(f"web: {server.web_url}")
            report("ready")
            scheme = "grpc" if config.gateway.tls_certificate is None else "grpcs"
            print(f"ready: {scheme} {server.address}", file=stdout, flush=True)
            _wait(server)
            if server.defect:
                report(f"error: {server.defect}; a supervisor is to start the server again")
                return _end(config, EXIT_DEFECT)
            timeout_s = config.gateway.drain_timeout_s
            report(f"draining, {timeout_s:g} s at most; press Ctrl-C again to stop at once")
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        report("stopped at once")
        return _end(config, 130)
    report("stopped")
    return _end(config, 0, leaves_threads=server.leaves_threads)


def _shown(config: ServerConfig) -> Callable[[str], str]:
    return shown_as(
        config.log_format, colour=sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    )


def _print_serve_config(config: ServerConfig, repository: ModelRepository) -> None:
    import yaml

    from leyden_server.controller.serve_config import serve_config

    print(yaml.safe_dump(serve_config(config, repository), sort_keys=False), end="")


def _server_of(
    config: ServerConfig, report: Callable[[str], None]
) -> "type[LeydenServer] | type[InProcessServer]":
    """Import what runs the server, which takes seconds."""
    if config.in_process:
        report("importing torch")
        from leyden_server.controller.in_process import InProcessServer

        return InProcessServer
    report("importing Ray")
    from leyden_server.controller.ray_environment import set_ray_environment

    set_ray_environment()
    from leyden_server.controller.launcher import LeydenServer

    return LeydenServer


def _end(config: ServerConfig, code: int, *, leaves_threads: bool = False) -> int:
    """Return the exit code, or leave with it where threads of the stages may still run."""
    if leaves_threads or (config.in_process and code != 0):
        # Python would wait for them, who may be in a step of minutes, or hang.
        sys.stderr.flush()
        os._exit(code)
    return code


def _config(args: argparse.Namespace) -> ServerConfig:
    config = ServerConfig() if args.config is None else ServerConfig.load(args.config)
    door = ("insecure", "tls_certificate", "tls_private_key", "tls_client_ca", "api_keys")
    gateway = {name: getattr(args, name) for name in ("host", "port", "metrics_port", *door)}
    gateway |= _web(args.web)
    options = {
        "gateway": {key: value for key, value in gateway.items() if value is not None},
        "models": args.model,
        "in_process": args.in_process or None,
        "log_format": args.log_format,
        "model_repository": args.model_repository,
    }
    return config.replace(**{key: value for key, value in options.items() if value})


def _web(option: str | None) -> dict[str, object]:
    """Return the settings that `--web [HOST:]PORT` comes to; without it none.

    Raises:
        ConfigError: it is something else.

    """
    if option is None:
        return {}
    host, _, port = option.rpartition(":")
    if option and not (port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
        raise ConfigError(f"--web: PORT or HOST:PORT, with a port from 0 to {MAX_PORT}")
    settings: dict[str, object] = {"web_port": int(port) if option else DEFAULT_WEB_PORT}
    return settings | ({"web_host": host} if host else {})


def _wait(server: "LeydenServer | InProcessServer") -> None:
    """Wait for a signal, or for a defect that the server cannot survive."""
    try:
        server.wait()
    except KeyboardInterrupt:
        return


class _Echo:
    """Copies what is appended to the request log to stderr until it is left."""

    def __init__(self, shown: Callable[[str], str]) -> None:
        """`shown` makes of whole lines what is to be read."""
        self._shown = shown
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
                sys.stderr.write(self._shown(follower.read()))
                sys.stderr.flush()
