"""How many replicas of each stage run, as Ray Serve's controller says."""

import asyncio
import time

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ReplicaState

__all__ = ["LOOK_PERIOD_S", "ReplicaCounts"]

LOOK_PERIOD_S = 1.0
"""The controller is asked no more often: an answer costs tens of milliseconds of a thread."""

LOOK_TIMEOUT_S = 2.0


class ReplicaCounts:
    """The running replicas of every application; one answer serves all who ask.

    Nothing is asked while nobody waits: those come here who have waited for long, or who
    know that a stage may be at rest.
    """

    def __init__(self) -> None:
        self._looked_s = 0.0
        self._look: asyncio.Task[dict[str, int] | None] | None = None

    async def running(self, application: str) -> int | None:
        """Return how many replicas an application has, by an answer of the last second.

        None where the controller does not answer, as while it is replaced.
        """
        now = time.monotonic()
        if self._look is None or now - self._looked_s >= LOOK_PERIOD_S:
            self._looked_s = now
            self._look = asyncio.create_task(asyncio.to_thread(_running_replicas))
        try:
            # Shielded: one who leaves must not take the answer from the others.
            counts = await asyncio.wait_for(asyncio.shield(self._look), LOOK_TIMEOUT_S)
        except TimeoutError:
            return None
        return None if counts is None else counts.get(application, 0)


def _running_replicas() -> dict[str, int] | None:
    try:
        applications = serve.status().applications
    except (RayError, RayServeException):
        return None
    return {
        name: sum(
            deployment.replica_states.get(ReplicaState.RUNNING, 0)
            for deployment in application.deployments.values()
        )
        for name, application in applications.items()
    }
