"""Starts the whole server and stops it: address, Ray, applications, and back again.

What is deployed `applications` says; this is its client in the foreground.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import ProxyLocation
from ray.serve.exceptions import RayServeException

from leyden_server.address import ReservedAddress
from leyden_server.config import ServerConfig
from leyden_server.controller.applications import build_targets, request_log_path
from leyden_server.controller.directory import NAMESPACE
from leyden_server.controller.metrics_address import MetricsAddress, metrics_port
from leyden_server.controller.models import build_catalog
from leyden_server.controller.names import Names
from leyden_server.controller.options import stop_s
from leyden_server.controller.ray_start import start_ray
from leyden_server.controller.stage_applications import QUIET
from leyden_server.controller.start_failures import explain_failure
from leyden_server.controller.web_address import WebAddress
from leyden_server.errors import StartupError
from leyden_server.gateway.door import check_files
from leyden_server.model_repository import ModelRepository

__all__ = ["LeydenServer"]

LEAVE_TIMEOUT_S = 3.0
"""How long the stages get to leave a Ray of others'; they are idle then."""

POLL_PERIOD_S = 0.1


class LeydenServer:
    """A running server, as a context manager.

    Leaving it drains the Gateway and stops the stages, or ends a Ray of our own; both take 10 s
    more than `gateway.drain_timeout_s` at most. A KeyboardInterrupt meanwhile, or an error or a
    KeyboardInterrupt while it starts, ends what runs without a drain.
    """

    def __init__(
        self,
        config: ServerConfig,
        report: Callable[[str], None] = lambda _: None,
        *,
        follow: Callable[[Path], None] = lambda _: None,
        repository: ModelRepository | None = None,
        address: ReservedAddress | None = None,
        metrics_address: MetricsAddress | None = None,
        web_address: WebAddress | None = None,
    ) -> None:
        """Check the config and the models; nothing is started yet.

        `report` is told, in a few words, what takes time now, and `follow` the request log's path
        before the server writes to it. `repository` and `address` are given by whoever has them
        already; the address is the caller's to close.

        Raises:
            StartupError: a model or the repository is wrong, or a file of TLS or API keys.

        """
        self._config = config
        self._report = report
        self._names = Names(config.ray.instance)
        check_files(config.gateway)
        self._catalog = build_catalog(
            config.models, repository or ModelRepository(config.model_repository)
        )
        self._follow = follow
        self._reserved = address
        self._reserved_page = metrics_address
        self._reserved_web = web_address
        self._stack = ExitStack()
        self._applications: list[str] = []
        self._at_once = True  # until it is ready there is nothing to drain
        self.address = ""
        self.metrics_url = ""
        """Of the page with metrics; empty: there is none."""
        self.web_url = ""
        """Of the HTTP door; empty: there is none."""
        self.request_log = Path()
        self.defect = ""
        """Empty: what fails here, Serve replaces."""
        self.leaves_threads = False
        """What loads models has processes of its own."""

    def __enter__(self) -> Self:
        """Return when the first request would succeed.

        Raises:
            StartupError: the address is taken, Ray cannot be had, another server has our names
                there, or a stage failed to start.

        """
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        self._at_once = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def wait(self) -> None:
        """Wait for ever, which a signal ends."""
        threading.Event().wait()

    def _start(self, stack: ExitStack) -> None:
        gateway = self._config.gateway
        address = self._reserved or stack.enter_context(ReservedAddress(gateway.host, gateway.port))
        self.address = str(address)
        self._hold_page(stack)
        self._hold_web(stack)
        if ray.is_initialized():
            raise StartupError(
                "this process is connected to a Ray already, which is not ours to end"
            )
        self._report("starting Ray")
        stack.callback(ray.shutdown)
        start_ray(self._config.ray, self._report)
        try:
            serve.start(proxy_location=ProxyLocation.Disabled, logging_config=QUIET)
        except (RuntimeError, RayError, TimeoutError) as error:
            raise StartupError(f"Ray Serve did not start: {error}") from error
        self._refuse_to_overwrite()
        self._end_actors()  # of a server of this name that was ended without a stop
        self.request_log = request_log_path(self._config)
        self._follow(self.request_log)
        targets = build_targets(self._config, self._catalog, self.address)
        self._report(f"loading and warming up {', '.join(self._config.models)}")
        self._applications = [target.name for target in targets]
        stack.callback(self._stop)
        try:
            serve.run_many(targets)
        except (RuntimeError, RayError, TimeoutError) as error:
            raise StartupError(self._why_not() or str(error)) from error

    def _hold_page(self, stack: ExitStack) -> None:
        gateway = self._config.gateway
        if metrics_port(gateway) is not None:
            page = self._reserved_page or stack.enter_context(MetricsAddress(gateway))
            self._config = self._config.replace(gateway={"metrics_port": page.port})
            self.metrics_url = page.url

    def _hold_web(self, stack: ExitStack) -> None:
        gateway = self._config.gateway
        if gateway.web_port is not None:
            web = self._reserved_web or stack.enter_context(WebAddress(gateway))
            self._config = self._config.replace(gateway={"web_port": web.port})
            self.web_url = web.url

    def _refuse_to_overwrite(self) -> None:
        taken = sorted(name for name in serve.status().applications if self._names.owns(name))
        if taken:
            raise StartupError(
                f"the Ray at {self._config.ray.address} has {', '.join(taken)} already: another "
                f"server of the instance {self._config.ray.instance!r} runs there, or was ended "
                "without a stop; choose another ray.instance, or delete these applications"
            )

    def _why_not(self) -> str:
        """Return why each application that failed did, a line each; those that wait did not."""
        applications = serve.status().applications
        failed = {
            name: deployment.message
            for name in self._applications
            if name in applications
            for deployment in applications[name].deployments.values()
            if deployment.status in ("DEPLOY_FAILED", "UNHEALTHY")
        }
        return "\n".join(
            f"{name}: {explain_failure(message, self._names.section(name))}"
            for name, message in failed.items()
        )

    def _stop(self) -> None:
        try:
            # The Gateway first: what it has accepted still needs the stages.
            if not self._at_once:
                self._delete([self._names.gateway], stop_s(self._config.gateway))
        except KeyboardInterrupt:
            self._at_once = True
            raise
        finally:
            if self._config.ray.address != "local":  # else they end with their Ray
                # First who would deploy and delete them; then what it has deployed as well.
                self._end_actors()
                self._delete([*self._ours()], LEAVE_TIMEOUT_S)

    def _end_actors(self) -> None:
        # The directory ends with the last Gateway that leaves it; one that was killed has not.
        for name in (self._names.models, self._names.directory):
            with contextlib.suppress(ValueError):
                ray.kill(ray.get_actor(name, namespace=NAMESPACE))

    def _ours(self) -> set[str]:
        """Return our applications, those of models too that were loaded later."""
        there: set[str] = set()
        with contextlib.suppress(RayError, RayServeException):
            there = {name for name in serve.status().applications if self._names.owns(name)}
        return {*self._applications, *there}

    def _delete(self, names: Sequence[str], timeout_s: float) -> None:
        """Have applications deleted; return once they are gone, or the time is up.

        Serve goes on with what is left then, as on a busy machine; `report` is told.
        """
        # Where Serve's controller has ended, as in a Ray that others stop, nothing is left of them.
        with contextlib.suppress(RayError, RayServeException):
            for name in names:
                serve.delete(name, _blocking=False)
            deadline = time.monotonic() + timeout_s
            while left := _left(names):
                if time.monotonic() >= deadline:
                    self._report(f"Ray Serve is still ending {', '.join(left)}")
                    return
                time.sleep(POLL_PERIOD_S)  # Serve's own client polls too


def _left(names: Sequence[str]) -> list[str]:
    there = serve.status().applications
    return sorted(name for name in names if name in there)
