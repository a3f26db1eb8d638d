"""Scaling over time: a burst on one model, then nobody, then one request.

    .venv/bin/python -m benchmarks.scaling

Starts a server whose stages rest at zero replicas, drives it through the phases of PROFILE, and
samples twice a second what the clients wait for and what replicas each stage has. Writes the
samples as JSON and a plot of them. Run it on an idle machine; it takes four minutes.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from ray import serve
from ray.serve.schema import ReplicaState

from benchmarks.conditions import REPOSITORY, conditions
from leyden_client import Client, DenoiseProgress, Event, Image
from leyden_server.config import ServerConfig
from leyden_server.controller.launcher import LeydenServer

MODEL = "leyden-tiny-base"
STEPS = 50
SAMPLE_PERIOD_S = 0.5
CLIENTS = 12

PROFILE = (("idle", 45.0, 0), ("burst", 75.0, CLIENTS), ("one client", 30.0, 1), ("idle", 60.0, 0))
"""Phases: name, length in seconds, clients that each ask for an image after another."""

SCALING: dict[str, Any] = {
    "min_replicas": 0,
    "max_replicas": 3,
    "target_ongoing_requests": 4,
    "upscale_delay_s": 2,
    "downscale_delay_s": 5,
    "downscale_to_zero_delay_s": 30,
    "num_cpus": 0.1,
}
"""Shorter delays than the defaults, so that the run is; the plot says so."""

CONFIG = ServerConfig().replace(
    models=[MODEL],
    gateway={"port": 0},
    text_encoder=SCALING,
    denoiser=SCALING,
    vae=SCALING,
)

STAGES = {"text-encoder": "TextEncoder", "denoiser": "Denoiser", "image-decoder": "Vae"}
STATES = ("waiting", "denoising", "decoding")
COLORS = {
    "waiting": "#bbbbbb",
    "denoising": "#4477aa",
    "decoding": "#ee6677",
    "TextEncoder": "#228833",
    "Denoiser": "#4477aa",
    "Vae": "#ee6677",
}


class Clients:
    """Clients that each ask for an image, wait for it, and ask again."""

    def __init__(self, client: Client, started_s: float) -> None:
        self._client = client
        self._started_s = started_s
        self._wanted = 0
        self._threads: list[threading.Thread] = []
        self._states: dict[int, str] = {}
        self.done: list[dict[str, float]] = []
        self.errors: list[str] = []

    def set(self, wanted: int) -> None:
        """Have so many from now on; those that leave finish their present image."""
        self._wanted = wanted
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for number in range(len(self._threads), wanted):
            thread = threading.Thread(target=self._ask, args=(number,))
            self._threads.append(thread)
            thread.start()

    def join(self) -> None:
        """Wait for the last images."""
        self._wanted = 0
        for thread in self._threads:
            thread.join()

    def states(self) -> Counter[str]:
        """Return how many requests are in which state now."""
        return Counter(self._states.copy().values())

    def _ask(self, number: int) -> None:
        while number < self._wanted:
            self._generate(number)

    def _generate(self, number: int) -> None:
        def follow(event: Event) -> None:
            if isinstance(event, DenoiseProgress):
                last = event.step == event.total_steps
                self._states[number] = "decoding" if last else "denoising"
            elif isinstance(event, Image):
                self._states.pop(number, None)

        self._states[number] = "waiting"
        asked_s = time.monotonic()
        try:
            summary = self._client.generate_image(
                "a lake", model=MODEL, num_inference_steps=STEPS, on_event=follow
            ).summary
        except Exception as error:  # noqa: BLE001 - counted, and the run goes on
            self.errors.append(repr(error))
            return
        finally:
            self._states.pop(number, None)
        ended_s = time.monotonic()
        self.done.append(
            {
                "asked_s": round(asked_s - self._started_s, 2),
                "took_s": round(ended_s - asked_s, 2),
                "retries": summary.retries,
            }
        )


def main() -> None:
    """Measure, write, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    results = REPOSITORY / "benchmarks" / "results" / f"scaling-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=results, help="default: %(default)s")
    image = REPOSITORY / "docs" / "images" / "scaling.png"
    parser.add_argument("--plot", type=Path, default=image, help="default: %(default)s")
    parser.add_argument("--from-json", action="store_true", help="plot the JSON, measure nothing")
    arguments = parser.parse_args()
    if not arguments.from_json:
        arguments.json.write_text(json.dumps(measure()) + "\n")
        print(f"wrote {arguments.json}")
    figures = json.loads(arguments.json.read_text())
    plot(figures, arguments.plot)
    print(f"wrote {arguments.plot}")
    print(json.dumps(figures["outcome"], indent=2))


def measure() -> dict[str, Any]:
    """Run the profile; return its conditions, samples and outcome."""
    where = conditions()
    with LeydenServer(CONFIG, say) as server, Client(server.address) as client:
        started_s = time.monotonic()
        clients = Clients(client, started_s)
        phases: list[dict[str, Any]] = []
        with sampled(clients, started_s) as samples:
            for name, length_s, wanted in PROFILE:
                say(f"{name}: {wanted} clients, {length_s:g} s")
                phases.append({"name": name, "start_s": round(time.monotonic() - started_s, 2)})
                clients.set(wanted)
                time.sleep(length_s)
            clients.join()
            say("one request")
            phases.append({"name": "one", "start_s": round(time.monotonic() - started_s, 2)})
            clients.set(1)
            clients.join()
            time.sleep(5)
        return {
            "conditions": {
                **where,
                "model": f"{MODEL}, 128 x 128, {STEPS} steps, guidance 2.5, float32",
                "scaling": SCALING,
            },
            "outcome": outcome(clients, samples),
            "phases": phases,
            "samples": samples,
            "requests": clients.done,
        }


@contextmanager
def sampled(clients: Clients, started_s: float) -> Iterator[list[dict[str, Any]]]:
    """Sample until the block ends."""
    samples: list[dict[str, Any]] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_PERIOD_S):
            at_s = round(time.monotonic() - started_s, 2)
            replicas, states = replicas_now(), clients.states()
            samples.append({"at_s": at_s, "requests": dict(states), "replicas": replicas})

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def replicas_now() -> dict[str, dict[str, int]]:
    """Return each stage's running replicas, and those that it is to have."""
    found = {}
    for name, application in serve.status().applications.items():
        for prefix, stage in STAGES.items():
            if name.startswith(prefix):
                (deployment,) = application.deployments.values()
                states = deployment.replica_states
                running = states.get(ReplicaState.RUNNING, 0)
                wanted = running + states.get(ReplicaState.STARTING, 0)
                found[stage] = {"running": running, "wanted": wanted}
    return found


def outcome(clients: Clients, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what came of it, in a few numbers."""
    peaks = {
        stage: max(sample["replicas"][stage]["running"] for sample in samples)
        for stage in STAGES.values()
    }
    return {
        "images": len(clients.done),
        "failed": clients.errors,
        "retries": sum(request["retries"] for request in clients.done),
        "most_replicas": peaks,
        "first_request_from_zero_s": clients.done[0]["took_s"],
        "last_request_from_zero_s": clients.done[-1]["took_s"],
    }


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw load, queue and replicas over time."""
    samples, phases = figures["samples"], figures["phases"]
    at_s = [sample["at_s"] for sample in samples]
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    load, replicas, times = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    load.stackplot(
        at_s,
        [[sample["requests"].get(state, 0) for sample in samples] for state in STATES],
        labels=STATES,
        colors=[COLORS[state] for state in STATES],
        step="post",
    )
    load.set_ylabel("requests")
    load.legend(loc="upper right", frameon=False)
    for shift, stage in zip((-0.04, 0.0, 0.04), STAGES.values(), strict=True):
        # Shifted by a little, or equal lines would hide each other.
        for kind, style in (("wanted", ":"), ("running", "-")):
            counts = [sample["replicas"][stage][kind] + shift for sample in samples]
            label = stage if kind == "running" else None
            replicas.step(
                at_s, counts, style, where="post", color=COLORS[stage], label=label, linewidth=1.5
            )
    replicas.plot([], [], ":", color="#444444", label="starting")
    replicas.set_ylabel("replicas")
    replicas.set_yticks(range(figures["conditions"]["scaling"]["max_replicas"] + 1))
    replicas.legend(loc="upper right", frameon=False)
    ended = [(r["asked_s"] + r["took_s"], r["took_s"]) for r in figures["requests"]]
    times.plot(*zip(*ended, strict=True), ".", color="#444444", markersize=4)
    times.set_ylabel("seconds to image")
    times.set_ylim(bottom=0)
    times.set_xlabel("seconds")
    for axes in (load, replicas, times):
        axes.spines[["top", "right"]].set_visible(False)
        for phase in phases:
            axes.axvline(phase["start_s"], color="#dddddd", linewidth=0.8, zorder=0)
    for phase in phases:
        load.annotate(
            phase["name"],
            (phase["start_s"], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=8,
        )
    figure.savefig(path, dpi=110)


def say(what: str) -> None:
    """Tell the person at the terminal what runs now."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
