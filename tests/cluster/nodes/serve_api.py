"""What Ray's dashboard says of the cluster and of what Serve runs; `serve deploy` posts to it."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from cluster.nodes.ray_nodes import Cluster
from support.patience import PATIENCE_S

__all__ = ["ServeApi"]


class ServeApi:
    """Asks one cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder

    def deploy(self, config: Mapping[str, Any]) -> None:
        """Run Ray's own `serve deploy` with a config file."""
        file = self._folder / "serve_config.yaml"
        file.write_text(yaml.safe_dump(dict(config), sort_keys=False))
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.serve.scripts", "deploy"),
                *("--address", self._cluster.dashboard, str(file)),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=self._cluster.environment,
        )

    def nodes(self) -> dict[str, str]:
        """Return the state of the newest node at each address; empty where nobody answers."""
        found = self._get("/api/v0/nodes?detail=true&limit=1000")
        if found is None:
            return {}
        rows = sorted(found["data"]["result"]["result"], key=lambda row: row["start_time_ms"])
        return {row["node_ip"]: row["state"] for row in rows}

    def replicas(self) -> dict[str, list[str]]:
        """Return where the running replicas of each application are, by node addresses."""
        return {
            name: sorted(
                replica["node_ip"]
                for deployment in application["deployments"].values()
                for replica in deployment["replicas"]
                if replica["state"] == "RUNNING"
            )
            for name, application in self._applications().items()
        }

    def replica_ids(self) -> set[str]:
        """Return the names of all replicas that there are, whatever they do."""
        return {
            replica["replica_id"]
            for application in self._applications().values()
            for deployment in application["deployments"].values()
            for replica in deployment["replicas"]
        }

    def statuses(self) -> dict[str, str]:
        """Return Serve's word for each application."""
        return {name: one["status"] for name, one in self._applications().items()}

    def messages(self) -> str:
        """Return what Serve says of applications and deployments that do not run, in lines."""
        lines = []
        for name, application in self._applications().items():
            lines.append(f"{name} {application['status']} {application['message']}")
            for deployment in application["deployments"].values():
                lines.append(f"  {deployment['status']} {deployment['message']}")
        return "\n".join(lines)

    def _applications(self) -> dict[str, Any]:
        found = self._get("/api/serve/applications/")
        return {} if found is None else found["applications"]

    def _get(self, path: str) -> Any:
        """Return what the dashboard answers; None: it does not."""
        asked = urllib.request.Request(
            self._cluster.dashboard + path,
            headers={"Authorization": f"Bearer {self._cluster.token}"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return json.load(answer)
        except (OSError, urllib.error.HTTPError, ValueError):
            return None
