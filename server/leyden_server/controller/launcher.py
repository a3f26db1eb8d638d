"""Starts the whole server and stops it: address, Ray, applications, and back again."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import ray
from ray import serve
from ray.serve import RunTarget
from ray.serve.config import ProxyLocation

from leyden_server.address import ReservedAddress
from leyden_server.config import RayConfig, ServerConfig
from leyden_server.controller.applications import (
    GATEWAY_APPLICATION,
    QUIET,
    build_applications,
    build_catalog,
)
from leyden_server.errors import StartupError
from leyden_server.model_repository import ModelRepository
from leyden_server.stages.over_ray import SERVE_ENVIRONMENT

__all__ = ["LeydenServer"]


class LeydenServer:
    """A running server, as a context manager.

    Leaving it drains the Gateway, stops the stages, and ends a Ray of our own; a
    KeyboardInterrupt meanwhile ends the drain, and what runs with it.
    """

    def __init__(
        self, config: ServerConfig, report: Callable[[str], None] = lambda _: None
    ) -> None:
        """Check the config and the models; nothing is started yet.

        `report` is told, in a few words, what takes time now.

        Raises:
            StartupError: a model or the repository is wrong.

        """
        self._config = config
        self._report = report
        self._catalog = build_catalog(config, ModelRepository(config.model_repository))
        self._stack = ExitStack()
        self._applications: list[str] = []
        self._at_once = False
        self.address = ""
        self.request_log = Path()

    def __enter__(self) -> Self:
        """Return when the first request would succeed.

        Raises:
            StartupError: the address is taken, or a stage failed to start.

        """
        with ExitStack() as stack:
            gateway = self._config.gateway
            address = stack.enter_context(ReservedAddress(gateway.host, gateway.port))
            self.address = str(address)
            self._report("starting Ray")
            stack.callback(ray.shutdown)
            _start_ray(self._config.ray)
            logs = Path(ray._private.worker._global_node.get_logs_dir_path())
            self.request_log = logs / "leyden" / "requests.jsonl"
            stack.callback(self._shut_down_serve)
            serve.start(proxy_location=ProxyLocation.Disabled, logging_config=QUIET)
            targets = build_applications(
                self._config, self._catalog, self.address, self.request_log
            )
            models = ", ".join(self._config.models)
            self._report(f"loading and warming up {models}")
            self._applications = [target.name for target in targets]
            stack.callback(self._drain)
            _deploy(targets)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _shut_down_serve(self) -> None:
        if self._config.ray.address != "local":
            for name in self._applications:  # others' applications stay
                serve.delete(name, _blocking=not self._at_once)
        elif not self._at_once:  # else Ray's own end is the quicker one
            serve.shutdown()

    def _drain(self) -> None:
        # The Gateway first: what it has accepted still needs the stages.
        gone = False
        while not gone:
            try:
                serve.delete(GATEWAY_APPLICATION)
                gone = True
            except TimeoutError:  # Serve waits for 60 s; our drain may be longer
                continue
            except KeyboardInterrupt:
                self._at_once = True
                raise


def _start_ray(config: RayConfig) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Whose address it joins is said in the config alone.
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(SERVE_ENVIRONMENT)
    # Ray runs its workers at niceness 15: any other process of the machine would come first.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if config.address != "local":
        ray.init(address=config.address, log_to_driver=False, logging_level="ERROR")
        return
    ray.init(
        address="local",
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        object_store_memory=config.object_store_memory_bytes,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )


def _deploy(targets: Sequence[RunTarget]) -> None:
    try:
        serve.run_many(targets)
    except RuntimeError as error:
        raise StartupError(_why_not(targets) or str(error)) from error


def _why_not(targets: Sequence[RunTarget]) -> str:
    applications = serve.status().applications
    problems = [
        f"{target.name}: {_own_words(deployment.message)}"
        for target in targets
        if target.name in applications
        for deployment in applications[target.name].deployments.values()
        if deployment.message
    ]
    return "\n".join(problems)


def _own_words(message: str) -> str:
    """Return our own error out of Serve's traceback; the whole of it where there is none."""
    ours = re.search(r"^leyden_server\.errors\.\w+: (.*)", message, re.MULTILINE)
    return ours[1] if ours else message
