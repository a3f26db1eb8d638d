"""A pod's containers as processes of this machine, with the pod's own commands and environment.

What stands in: the image is this checkout with its virtual environment, the user is whoever runs
this, and of the volumes only /tmp and /dev/shm are the pod's own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from cluster.control_plane.client import Object
from cluster.control_plane.pod_network import PodPlace

__all__ = ["Container", "environment_of"]

ROOT = Path(__file__).parents[3]
_ENTER = 'mount --bind "$0" /tmp && mount -t tmpfs tmpfs /dev/shm && exec "$@"'
_FROM_HERE = ("LANG", "LC_ALL", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class Container:
    """One container's process, in the place of its pod."""

    def __init__(
        self, spec: Object, environment: Mapping[str, str], place: PodPlace, folder: Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        own_tmp = folder / "tmp"
        own_tmp.mkdir(exist_ok=True)
        self._environment = dict(environment)
        isolated = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
        command = (*spec.get("command", ()), *spec.get("args", ()))
        with (folder / f"{spec['name']}.log").open("ab") as log:
            self._process = subprocess.Popen(
                (*place.command, *isolated, "--", "sh", "-c", _ENTER, str(own_tmp), *command),
                env=self._environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """Return its exit code, once it has ended."""
        return self._process.poll()

    def execute(self, command: Sequence[str], limit_s: float) -> bool:
        """Run a command beside the container's own; return whether it succeeded in time."""
        enter = ("nsenter", "--target", str(self._first()), "--mount", "--pid", "--net", "--")
        try:
            result = subprocess.run(
                (*enter, *command),
                env=self._environment,
                capture_output=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return result.returncode == 0

    def end(self, grace_s: float) -> None:
        """Send SIGTERM to its first process, and SIGKILL to all when the time is over."""
        if self.code is not None:
            return
        psutil.Process(self._first()).terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()  # and with unshare all that it isolated
            self._process.wait()

    def kill(self) -> None:
        """Send SIGKILL to all of it now."""
        self._process.kill()
        self._process.wait()

    def _first(self) -> int:
        """Return the process that is 1 to the container."""
        (first,) = psutil.Process(self._process.pid).children()
        return first.pid


def environment_of(
    spec: Object, pod: Object, secrets: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Return what a container's environment holds."""
    found = {name: os.environ[name] for name in _FROM_HERE if name in os.environ}
    found["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    found["HOME"] = "/tmp"  # the only folder of the pod's own
    found["PYTHONPATH"] = ":".join(
        str(ROOT / part) for part in ("server", "client/python", "tests")
    )
    for variable in spec.get("env", []):
        name, source = variable["name"], variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            found[name] = secrets[reference["name"]][reference["key"]]
        elif "fieldRef" in source:
            found[name] = _field(pod, source["fieldRef"]["fieldPath"])
        elif source:
            raise NotImplementedError(f"{name}: a source not met before: {source}")
        else:
            found[name] = variable.get("value", "")
    return found


def _field(pod: Object, path: str) -> str:
    """Return a field of the pod, such as metadata.labels['ray.io/cluster']."""
    plain, _, key = path.partition("['")
    value: object = pod
    for part in plain.split("."):
        assert isinstance(value, dict), path
        value = value.get(part, "")
    if key:
        assert isinstance(value, dict), path
        value = value[key.removesuffix("']")]
    return str(value)
