"""What runs in the pods where Ray is not to: Leyden in one process, and Ray's dashboard in outline.

The operator is told of applications that run; that they do is not shown by it.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

from cluster.control_plane.client import Object

__all__ = ["without_ray"]

_DASHBOARD_PORT = 8265
_HEALTH = "/api/gcs_healthz"
_APPLICATIONS = "/api/serve/applications/"
_SERVE = ("leyden", "serve", "--in-process", "--host", "0.0.0.0", "--insecure", "--port", "8001")


def without_ray(spec: Object) -> Object:
    """Return a pod's spec with other commands: its init containers wait for Ray, and go."""
    containers = [{**container, **_command_of(container)} for container in spec["containers"]]
    return {**spec, "initContainers": [], "containers": containers}


def _command_of(container: Object) -> Object:
    if container["name"] == "ray-head":
        return {"command": [sys.executable, "-m", __name__], "args": [], "lifecycle": {}}
    return {"command": list(_SERVE), "args": [], "lifecycle": {}}


class _Dashboard(BaseHTTPRequestHandler):
    """Says that every application it was given runs."""

    given: ClassVar[Object] = {"applications": []}

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == _HEALTH:
            self._answer(b"success")
        elif path == _APPLICATIONS:
            state = {"status": "RUNNING", "deployments": {}}
            running = {
                one["name"]: {"name": one["name"], **state, "deployed_app_config": one}
                for one in self.given["applications"]
            }
            self._answer(json.dumps({"applications": running}).encode())
        else:
            self.send_error(404)

    def do_PUT(self) -> None:
        type(self).given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # It is process 1 of its container, to which SIGTERM does nothing unless it is asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("0.0.0.0", _DASHBOARD_PORT), _Dashboard).serve_forever()
