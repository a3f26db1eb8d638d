"""How many replicas of each stage run, as Ray Serve's controller says."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, ReplicaState, ServeInstanceDetails

__all__ = ["LOOK_PERIOD_S", "ReplicaCounts", "Replicas"]

LOOK_PERIOD_S = 1.0
"""The controller is asked no more often: an answer costs tens of milliseconds of a thread."""

WATCH_PERIOD_S = 2.0
"""How often it is asked where nobody waits for the answer, for health and for GetModel."""

LOOK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Replicas:
    """What Serve says of one application's replicas."""

    running: int = 0
    others: int = 0
    """Those that start, stop, or are moved."""
    wanted: int = 0
    """Those that Serve aims at."""
    failed: str = ""
    """Serve's word for an application that it has given up, or that fails; else empty."""


class ReplicaCounts:
    """The replicas of every application; one answer serves all who ask."""

    def __init__(self) -> None:
        self._looked_s = 0.0
        self._look: asyncio.Task[dict[str, Replicas] | None] | None = None
        self._known: Mapping[str, Replicas] = {}
        self._running_s: dict[str, float] = {}

    async def running(self, application: str) -> int | None:
        """Return how many replicas an application has; None where the controller is silent."""
        now = await self.now(application)
        return None if now is None else now.running

    async def now(self, application: str) -> Replicas | None:
        """Return an application's replicas by an answer of the last second.

        None where the controller does not answer, as while it is replaced.
        """
        now = time.monotonic()
        if self._look is None or now - self._looked_s >= LOOK_PERIOD_S:
            self._looked_s = now
            self._look = asyncio.create_task(self._ask())
        try:
            # Shielded: one who leaves must not take the answer from the others.
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                counts = await asyncio.shield(self._look)
        except TimeoutError:
            return None
        return None if counts is None else counts.get(application, Replicas())

    def known(self, application: str) -> Replicas | None:
        """Return the newest answer on an application; None before there is any."""
        return self._known.get(application)

    def answered(self, application: str) -> None:
        """Note that a replica of an application has answered, so that one runs now."""
        known = self._known.get(application)
        if known is not None and known.running == 0:
            wanted = max(1, known.wanted)
            self._known = {**self._known, application: Replicas(running=1, wanted=wanted)}
            self._running_s[application] = time.monotonic()

    def without_replica_s(self, application: str) -> float:
        """Return for how many seconds no answer had a running replica of an application."""
        seen_s = self._running_s.get(application)
        return 0.0 if seen_s is None else time.monotonic() - seen_s

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.running("")
            await asyncio.sleep(WATCH_PERIOD_S)

    async def _ask(self) -> dict[str, Replicas] | None:
        counts = await asyncio.to_thread(_replicas)
        if counts is not None:
            now = time.monotonic()
            for application, replicas in counts.items():
                if replicas.running > 0:
                    self._running_s[application] = now
                else:
                    self._running_s.setdefault(application, now)
            self._known = counts
        return counts


def _replicas() -> dict[str, Replicas] | None:
    try:
        # What serve.status() asks for too; it leaves out how many are wanted (Ray 2.60).
        client = _get_global_client(raise_if_no_controller_running=False)
        if client is None:
            return {}
        applications = ServeInstanceDetails(**client.get_serve_details()).applications
    except (RayError, RayServeException):
        return None
    counts = {}
    for name, application in applications.items():
        deployments = application.deployments.values()
        states = [replica.state for d in deployments for replica in d.replicas or ()]
        running = states.count(ReplicaState.RUNNING)
        failed = application.status in {
            ApplicationStatus.DEPLOY_FAILED,
            ApplicationStatus.UNHEALTHY,
        }
        counts[name] = Replicas(
            running=running,
            others=len(states) - running,
            wanted=sum(d.target_num_replicas for d in deployments),
            failed=str(application.status.value) if failed else "",
        )
    return counts
