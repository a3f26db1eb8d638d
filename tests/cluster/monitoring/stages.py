"""The processes of a server's stages."""

import psutil
from cluster.monitoring.processes import Program
from cluster.monitoring.waiting import wait_for

__all__ = ["replica_of"]


def replica_of(program: Program, stage: str) -> psutil.Process:
    """Return the process of a stage's replica, among those that a program has started."""

    def look() -> list[psutil.Process]:
        found = []
        for process in psutil.Process(program.process.pid).children(recursive=True):
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue  # it ended while we looked
            if "ServeReplica:" in title and f"-{stage}-" in title:
                found.append(process)
        return found

    return wait_for(f"a replica of {stage}", look)[0]
