"""What a Gateway's process takes for a request and for a step, before stages over Ray.

`leyden plan` sizes Gateways by it, and its simulation has them be busy for so long. CPU time, so
that it is not told from how busy the machine is otherwise, but for what a cold cache costs.
"""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import psutil

from benchmarks.conditions import REPOSITORY
from benchmarks.raw_load import RawLoad
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from benchmarks.stub_stages import IMAGE_BYTES

__all__ = ["measure"]

FEW, MANY = 2, 22
"""Steps of the two kinds of requests; what a step takes is their difference."""
STREAMS = 8
"""At once."""
ROUNDS = 40
IDLE_S = 15
CLAIMS = 20_000
PARTS = {"gateway": "StagesGateway", "controller": "ServeController", "gcs": "gcs_server"}
"""Of the commands of the processes that are looked at."""


def measure(settings: Settings) -> Section:
    """Measure a Gateway, then a directory, each alone."""
    with ServerProcess(["-m", "benchmarks.stub_stages"]) as server, ExitStack() as stack:
        loads = {
            steps: stack.enter_context(RawLoad(server.address, steps)) for steps in (FEW, MANY)
        }
        for load in loads.values():
            load.events_per_s(STREAMS)
        idle_s = settings.pick(IDLE_S, 2)
        settings.say(f"plan_gateway: {idle_s} s in which nobody asks")
        idle = _idle_shares(server, idle_s)
        rounds = settings.pick(ROUNDS, 2)
        settings.say(f"plan_gateway: {rounds} rounds")
        runs = _in_turns(server, loads, rounds)
    settings.say("plan_gateway: claims of names")
    claims = _claims(settings.pick(CLAIMS, 320))
    costs = _costs(runs, claims)
    return Section(
        conditions={
            "server": "a Gateway in an actor of Ray, a replica of each stage that computes "
            f"nothing, in processes of their own; embeddings and latents of SDXL's size at "
            f"1024 px, files of {IMAGE_BYTES / 1e6} MB",
            "requests": f"{STREAMS} at once, {rounds} rounds of each kind in turns",
        },
        figures=[
            Figure(
                name="CPU time of a Gateway for a request, without its steps",
                asked="",
                measured=f"{1e3 * costs['request_s']:.2f} ms; "
                + ", ".join(
                    f"{run['gateway_us'] / 1e3:.2f} with {run['steps']} steps "
                    f"({run['per_s']:.1f}/s)"
                    for run in runs
                ),
            ),
            Figure(
                name="CPU time of a Gateway for a step",
                asked="",
                measured=f"{1e3 * costs['step_s']:.3f} ms",
            ),
            Figure(
                name="CPU time of the directory's process for a claim",
                asked="",
                measured=f"{claims['cpu_us']:.0f} us; {claims['per_s']:.0f} claims/s",
            ),
            Figure(
                name="Share of a core when nobody asks",
                asked="",
                measured=", ".join(f"{part} {share:.3f}" for part, share in idle.items()),
            ),
        ],
        data={"runs": runs, "claims": claims, "idle_shares": idle, "costs": costs},
    )


def _costs(runs: list[dict[str, Any]], claims: dict[str, float]) -> dict[str, float]:
    few, many = runs
    step_us = max(0.0, (many["gateway_us"] - few["gateway_us"]) / (MANY - FEW))
    return {
        "request_s": (few["gateway_us"] - FEW * step_us) / 1e6,
        "step_s": step_us / 1e6,
        "claim_s": claims["cpu_us"] / 1e6,
    }


def _in_turns(
    server: ServerProcess, loads: dict[int, RawLoad], rounds: int
) -> list[dict[str, Any]]:
    used: dict[int, dict[str, float]] = {steps: dict.fromkeys(PARTS, 0.0) for steps in loads}
    wall_s = dict.fromkeys(loads, 0.0)
    for _ in range(rounds):
        for steps, load in loads.items():
            before, started_s = _cpu_s(server), time.perf_counter()
            load.events_per_s(STREAMS)
            wall_s[steps] += time.perf_counter() - started_s
            after = _cpu_s(server)
            for part in PARTS:
                used[steps][part] += after[part] - before[part]
    requests = rounds * STREAMS
    return [
        {
            "steps": steps,
            "requests": requests,
            "per_s": requests / wall_s[steps],
            **{f"{part}_us": 1e6 * used[steps][part] / requests for part in PARTS},
        }
        for steps in loads
    ]


def _idle_shares(server: ServerProcess, seconds: float) -> dict[str, float]:
    before = _cpu_s(server)
    time.sleep(seconds)  # what is measured is that nothing happens
    after = _cpu_s(server)
    return {part: (after[part] - before[part]) / seconds for part in PARTS}


def _cpu_s(server: ServerProcess) -> dict[str, float]:
    used = dict.fromkeys(PARTS, 0.0)
    for process in server.processes():
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue  # gone meanwhile
        for part, mark in PARTS.items():
            if mark in command:
                used[part] += times.user + times.system
    return used


def _claims(number: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.directory_claims", str(number)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
