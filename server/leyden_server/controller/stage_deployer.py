"""Deploys the stages of a model beside others, and deletes them. Blocks: for a thread.

`serve.run_many` restarts every application that it is given, changed or not (Ray Serve 2.60), so
it is given new ones alone.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from leyden_server.config import ServerConfig
from leyden_server.controller.names import Names
from leyden_server.controller.placement import Placement
from leyden_server.controller.room import waits_for_room
from leyden_server.controller.stage_applications import (
    WishedApplication,
    lacking,
    stage_applications,
    targets,
)
from leyden_server.controller.start_failures import explain_failure
from leyden_server.errors import ModelLoadError, NoResourcesError

__all__ = ["StageDeployer"]

POLL_PERIOD_S = 0.25

ROOM_TIMEOUT_S = 10.0
"""How long room that is about to become free is waited for: Ray tells of it a moment later, and
a replica that failed as it was loaded leaves its place to the next try."""

NOT_PLACED = "to be scheduled"
"""What Serve says of a replica whose process is not there after 30 s (Ray Serve 2.60)."""

FAILED = {ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY}


class StageDeployer:
    """Deploys and deletes stage applications of one server."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._names = Names(config.ray.instance)

    def deploy(self, placement: Placement, beside: Sequence[Placement]) -> None:
        """Deploy what a model needs and is not there; return once its replicas run.

        What was begun is deleted where it fails.

        Raises:
            ModelLoadError: a stage could not be loaded.
            NoResourcesError: a replica cannot be placed.

        """
        there = {name for other in beside for name in other.applications}
        wished = stage_applications(self._config, [*beside, placement])
        new = [wished[name] for name in placement.applications if name not in there]
        if not new:
            return
        model = placement.model.name
        self._wait_for_room(model, new)
        try:
            serve.run_many(
                targets(self._config, new),
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
            self._wait_until_running(model, new)
        except BaseException:
            self.delete(application.name for application in new)
            raise

    def delete(self, names: Iterable[str]) -> None:
        """Delete applications; return once they are gone."""
        for name in names:
            # Where Serve's controller has ended nothing is left of them.
            with contextlib.suppress(RayError, RayServeException):
                serve.delete(name)

    def stages_there(self) -> set[str]:
        """Return the names of this server's stage applications that Serve has."""
        return {
            name
            for name in serve.status().applications
            if self._names.owns(name) and name != self._names.gateway
        }

    def _wait_for_room(self, model: str, new: Sequence[WishedApplication]) -> None:
        deadline_s = time.monotonic() + ROOM_TIMEOUT_S
        while why := lacking(new, ray.available_resources()):
            if time.monotonic() >= deadline_s:
                raise NoResourcesError(model, f"{why}; what is free counts, not what there is")
            time.sleep(POLL_PERIOD_S)  # Ray tells nobody when room becomes free

    def _wait_until_running(self, model: str, new: Sequence[WishedApplication]) -> None:
        waiting_since_s: dict[str, float] = {}
        while True:
            found = serve.status().applications
            there = {wished.name: found[wished.name] for wished in new if wished.name in found}
            for wished in new:
                name = wished.name
                if name not in there:
                    continue
                messages = [one.message for one in there[name].deployments.values()]
                if there[name].status in FAILED:
                    why = explain_failure("\n".join(messages), self._names.section(name))
                    raise ModelLoadError(model, f"{name}: {why}")
                unplaced = [message for message in messages if NOT_PLACED in message]
                if not unplaced or not waits_for_room(wished.options["ray_actor_options"]):
                    waiting_since_s.pop(name, None)
                elif time.monotonic() - waiting_since_s.setdefault(name, time.monotonic()) >= (
                    ROOM_TIMEOUT_S
                ):
                    why = " ".join(unplaced[0].split())
                    raise NoResourcesError(model, f"{name} finds no place: {why}")
            statuses = [application.status for application in there.values()]
            if len(statuses) == len(new) and set(statuses) == {ApplicationStatus.RUNNING}:
                return
            time.sleep(POLL_PERIOD_S)  # Serve's own client polls too
