"""What the directory's process takes for a claim: `python -m benchmarks.directory_claims N`.

Prints JSON. One Gateway's side of it claims N names, so many at once as `AT_ONCE`.
"""

import asyncio
import json
import sys
import time
from functools import partial

import psutil
import ray

from leyden_server.config import RayConfig
from leyden_server.controller.directory import RayDirectory
from leyden_server.controller.ray_start import start_ray

AT_ONCE = 32
ACTOR = "_DirectoryActor"


async def _claim(claims: int) -> dict[str, float]:
    directory = RayDirectory("claims-directory", "127.0.0.1:1", list)
    await directory.ready()
    await asyncio.gather(*(directory.claim(f"warm-up-{n}") for n in range(AT_ONCE)))
    process = _actor()
    before, started_s = process.cpu_times(), time.perf_counter()
    for first in range(0, claims, AT_ONCE):
        await asyncio.gather(*(directory.claim(f"name-{first + n}") for n in range(AT_ONCE)))
    wall_s, after = time.perf_counter() - started_s, process.cpu_times()
    await directory.close()
    cpu_s = after.user + after.system - before.user - before.system
    return {"claims": claims, "cpu_us": 1e6 * cpu_s / claims, "per_s": claims / wall_s}


def _actor() -> psutil.Process:
    # By our own Ray's driver: another one may run on this machine.
    ours = {child.pid for child in psutil.Process().children(recursive=True)}
    return next(
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid in ours and ACTOR in " ".join(process.info["cmdline"] or ())
    )


def main() -> None:
    """Claim and print."""
    start_ray(RayConfig(num_cpus=1), partial(print, file=sys.stderr, flush=True))
    try:
        print(json.dumps(asyncio.run(_claim(int(sys.argv[1])))), flush=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
