"""Leyden and its peers on one card, with the same weights, in one run.

Stock diffusers in this process, eagerly and compiled; the same behind Triton's Python backend,
where nvidia-pytriton is at hand; and `leyden serve`, over gRPC. Full-size SDXL with random
weights, 4 steps without guidance, PNG out in all. First one client and 8 of each peer, in closed
loops; then Poisson arrivals at 70% of the best peer's capacity, the same for all. All stay up to
the end; those that are not asked rest. A peer that cannot take part is in the JSON, and why.

It needs all three distributions (`make install`) and downloads nothing without --install.

    python benchmarks/gpu_peers.py --json benchmarks/results/gpu-peers-NAME-DATE.json
    python benchmarks/gpu_peers.py --tiny --compile-backend eager      on a CPU, in two minutes
"""

import argparse
import itertools
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

if not __package__:  # run by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import diffusers
import torch
import transformers
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.on_gpu.architecture import SDXL, TINY
from benchmarks.on_gpu.diffusers_peer import Compiling, DiffusersPeer
from benchmarks.on_gpu.leyden_peer import leyden_peer
from benchmarks.on_gpu.loops import NotRunError, Peer, figures, pixel_difference
from benchmarks.on_gpu.machine import free_memory, machine
from benchmarks.on_gpu.sdxl_folder import MODEL, STEPS, write_model
from benchmarks.on_gpu.stock_pipeline import load_pipeline
from benchmarks.on_gpu.triton_peer import triton_peer, triton_python
from leyden_client.bench import poisson_arrivals

EAGER, COMPILED, TRITON = "diffusers", "diffusers compiled", "diffusers in Triton"
LEYDEN = {
    "in-process": "leyden --in-process",
    "split": "leyden",
    "fp8": "leyden --in-process, fp8",
}
CLIENTS = (1, 8)
LOAD = 0.7
"""Of the best peer's capacity, in the open loop."""
REQUESTS_A_CLIENT = 4
"""Of a closed loop of several, at the least: its first and last rounds do not count."""

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where a peer failed as it ran."""
    asked = _parse(arguments)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    # SIGTERM ends it as Ctrl-C does: the servers stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    contest = _Contest(asked)
    try:
        contest.run()
    except KeyboardInterrupt:
        contest.say("interrupted; what was measured until then is in the file of --json")
        return 130
    print(json.dumps({key: contest.figures[key] for key in ("peers", "leyden_over")}, indent=1))
    return 1 if contest.failed else 0


class _Contest:
    """One run."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._device = torch.device("cpu" if asked.tiny else "cuda:0")
        self._dtype = torch.float32 if asked.tiny else torch.bfloat16
        self._architecture = TINY if asked.tiny else SDXL
        self._said = Console(stderr=True, highlight=False)
        self._started_s = time.monotonic()
        self._reference: NDArray[Any] | None = None
        self.failed = False
        self.figures: Row = {
            "what": f"{self._architecture.name} architecture, random weights, {STEPS} steps "
            "without guidance, native size, PNG",
            "machine": machine(self._device),
            "dtype": str(self._dtype),
            "peers": [],
            "open_loop": None,
            "leyden_over": {},
            "complete": False,
        }

    def say(self, what: str) -> None:
        """Report progress on stderr."""
        elapsed_s = time.monotonic() - self._started_s
        self._said.print(f"[{elapsed_s:5.0f} s] {what}", markup=False, soft_wrap=True)

    def run(self) -> None:
        """Start and ask everyone, then all in an open loop; write as it comes."""
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-gpu-peers-"))
            self.say("writing random weights")
            model = write_model(Path(folder) / MODEL, self._architecture, self._device, self._dtype)
            free_memory(self._device)
            there: dict[str, Peer] = {}
            for name, start in self._starters(model).items():
                row: Row = {"name": name}
                self.figures["peers"].append(row)
                with self._noted(row):
                    self.say(f"{name}: starting")
                    peer = stack.enter_context(start())
                    self._ask(row, peer)
                    there[name] = peer
                free_memory(self._device)
                self._write()
            self._open_loops(there)
        self.figures["complete"] = True
        self._write()

    def _starters(self, model: Path) -> dict[str, Callable[[], AbstractContextManager[Peer]]]:
        asked = self._asked
        starters: dict[str, Callable[[], AbstractContextManager[Peer]]] = {
            EAGER: lambda: self._in_process(model, None),
            TRITON: lambda: triton_peer(
                triton_python(asked.triton_python, install=asked.install, say=self.say),
                model,
                device=str(self._device),
                dtype=str(self._dtype).removeprefix("torch."),
            ),
        }
        fp8 = {"denoiser": {"dtype": "fp8"}}
        for kind in asked.leyden:
            starters[LEYDEN[kind]] = partial(
                leyden_peer,
                model,
                in_process=kind != "split",
                config=fp8 if kind == "fp8" else None,
            )
        # Last: a run that is stopped while this one compiles has all others.
        starters[COMPILED] = lambda: self._in_process(model, asked.compiling)
        return {name: starters[name] for name in starters if name not in asked.without}

    @contextmanager
    def _in_process(self, model: Path, compiling: Compiling | None) -> Iterator[Peer]:
        started_s = time.perf_counter()
        pipeline = load_pipeline(model, self._device, self._dtype)
        load_s = time.perf_counter() - started_s
        yield DiffusersPeer(
            pipeline, load_s=load_s, compiling=compiling, backend=self._asked.compile_backend
        )

    @contextmanager
    def _noted(self, row: Row) -> Iterator[None]:
        """Write down why a peer is not there, or failed, and go on without it."""
        try:
            yield
        except NotRunError as error:
            row["not_run"] = str(error)
            self.say(f"{row['name']}: not run: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a peer fails of is its own
            self.failed = True
            row["failed"] = f"{type(error).__name__}: {error}"
            self.say(f"{row['name']}: FAILED: {row['failed']}")

    def _ask(self, row: Row, peer: Peer) -> None:
        row["start_to_ready_s"] = peer.start_to_ready_s
        picture = peer.picture()
        if self._reference is None:
            self._reference = picture
        row["same_image"] = pixel_difference(picture, self._reference)
        row["closed"] = []
        for clients in CLIENTS:
            self.say(f"{row['name']}: {clients} client{'s'[: clients > 1]}")
            requests = max(self._asked.requests, REQUESTS_A_CLIENT * clients * (clients > 1))
            row["closed"].append(figures(peer.closed(clients, requests), clients=clients))

    def _open_loops(self, there: dict[str, Peer]) -> None:
        rows = {row["name"]: row for row in self.figures["peers"]}
        capacities = {
            name: max(loop["images_per_s"] for loop in rows[name]["closed"])
            for name in there
            if name not in LEYDEN.values()
        }
        if not capacities:
            self.say("no open loop: no peer says how much it is to be")
            return
        best = max(capacities, key=capacities.__getitem__)
        rate = LOAD * capacities[best]
        arrivals = list(itertools.islice(poisson_arrivals(rate, seed=1), self._asked.arrivals))
        self.figures["open_loop"] = {"images_per_s": rate, "load": LOAD, "of": best}
        for name, peer in there.items():
            self.say(f"{name}: {len(arrivals)} arrivals, {rate:.2f} a second")
            with self._noted(rows[name]):
                rows[name]["open"] = figures(peer.open(arrivals))
            self._write()

    def _write(self) -> None:
        self.figures["leyden_over"] = leyden_over(self.figures["peers"])
        if self._asked.json is not None:
            self._asked.json.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.figures, indent=1) + "\n"
            self._asked.json.write_text(text, encoding="utf-8")


def leyden_over(peers: list[Row]) -> dict[str, Row]:
    """Return, for each of Leyden's ways to run, what it is to diffusers and to the best peer."""
    measured = [row for row in peers if len(row.get("closed", ())) == len(CLIENTS)]
    ours = [row for row in measured if row["name"] in LEYDEN.values()]
    theirs = [row for row in measured if row not in ours]
    if not theirs:
        return {}
    one, several = range(2)
    plain = next((row for row in theirs if row["name"] == EAGER), None)
    least_s = min(_latency_s(row, one) for row in theirs)
    most = max(row["closed"][several]["images_per_s"] for row in theirs)
    found = {}
    for row in ours:
        latency_s, rate = _latency_s(row, one), row["closed"][several]["images_per_s"]
        found[row["name"]] = {
            "one_client_of_best_peer": latency_s / least_s,
            "clients_over_best_peer": rate / most,
        }
        if plain is not None:
            found[row["name"]] |= {
                "one_client_of_diffusers": latency_s / _latency_s(plain, one),
                "clients_over_diffusers": rate / plain["closed"][several]["images_per_s"],
            }
    return found


def _latency_s(row: Row, loop: int) -> float:
    latency_s: float = row["closed"][loop]["latency_s"]["median"]
    return latency_s


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu_peers.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tiny", action="store_true", help="a tiny architecture, on a CPU")
    parser.add_argument("--json", type=Path, help="write all figures to this file, as they come")
    parser.add_argument(
        "--requests", type=_positive, default=12, help="of a closed loop at the least (12)"
    )
    parser.add_argument("--arrivals", type=_positive, default=40, help="of the open loop (40)")
    parser.add_argument(
        "--compiling",
        choices=("blocks", "whole"),
        default="blocks",
        help="what diffusers compiles: its UNet's transformer blocks, as its documentation has it "
        "(a minute or so), or the whole UNet (several)",
    )
    parser.add_argument("--compile-backend", default="inductor", help="torch.compile's (inductor)")
    parser.add_argument(
        "--triton-python", metavar="PYTHON", help="one that has nvidia-pytriton and diffusers"
    )
    parser.add_argument(
        "--install", action="store_true", help="let pip make Triton's venv, below .bench/"
    )
    parser.add_argument(
        "--leyden",
        nargs="+",
        choices=tuple(LEYDEN),
        default=["in-process", "split"],
        help="ways to run Leyden (in-process split)",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        choices=(EAGER, COMPILED, TRITON),
        default=[],
        help="peers that are left out",
    )
    asked = parser.parse_args(arguments)
    if not asked.tiny and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here; --tiny runs on a CPU")
    return asked


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
