"""The clients of all languages in turns: 16 streams before a server that computes nothing."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.conditions import REPOSITORY
from benchmarks.paired import in_turns, ratio_of
from benchmarks.section import Figure, Section, Settings, TextTable
from benchmarks.server_process import ServerProcess

sys.path.append(str(REPOSITORY / "tests"))

from clients import building
from clients.asking import Runner
from clients.languages.all import languages
from clients.languages.language import Language, NotHereError

__all__ = ["measure"]

REFERENCE = "python"
STREAMS = 16
REQUESTS, QUICK_REQUESTS = 4000, 32
WARM_UP_REQUESTS = 12_000
"""Of each client beforehand, untimed: JVM and V8 compile meanwhile, on the cores measured here."""
ROUNDS, QUICK_ROUNDS = 9, 2
ANSWER_TIMEOUT_S = 300.0
"""For one round; it ends a hang."""
WARM_UP_TIMEOUT_S = 1200.0


def measure(settings: Settings) -> Section:
    """Measure the rate and the p95 of every client that can be built here."""
    ready, absent = _built(settings)
    requests = settings.pick(REQUESTS, QUICK_REQUESTS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-benchmark-")))
        command = ["-m", "benchmarks.scripted_process"]
        server = stack.enter_context(ServerProcess(command))
        ask = {"call": "load", "target": server.address, "streams": STREAMS, "requests": requests}
        runners = {
            language.name: stack.enter_context(
                Runner(language.load or language.runner, folder / f"{language.name}.log")
            )
            for language in ready
        }
        contestants = {
            name: partial(_asked, runner, server, ask) for name, runner in runners.items()
        }
        warm_up = settings.pick(WARM_UP_REQUESTS, QUICK_REQUESTS)
        for language in ready:
            settings.say(f"clients: {language.title}, {warm_up} requests to warm up")
            runners[language.name].ask({**ask, "requests": warm_up}, WARM_UP_TIMEOUT_S)
        settings.say(f"clients: {', '.join(contestants)} in turns")
        rounds = settings.pick(ROUNDS, QUICK_ROUNDS)
        answers = in_turns(contestants, rounds)
    rates = {
        name: [len(answer["latencies_s"]) / answer["elapsed_s"] for answer in of]
        for name, of in answers.items()
    }
    p95_ms = {name: [_p95_ms(answer) for answer in of] for name, of in answers.items()}
    cpu_ms = {name: [answer["cpu_ms"] for answer in of] for name, of in answers.items()}
    server_cpu_ms = {
        name: [answer["server_cpu_ms"] for answer in of] for name, of in answers.items()
    }
    titles = {language.name: language.title for language in ready}
    return Section(
        conditions={
            "server": "the tests' script, played by grpc.aio in one process: six events, 64 KiB",
            "client": f"one client, {STREAMS} streams at once, {requests} requests a round, "
            f"after {warm_up} untimed ones",
        },
        figures=[
            _figure(title, rates[name], rates[REFERENCE])
            for name, title in titles.items()
            if name != REFERENCE
        ],
        tables=[
            TextTable(
                title="Clients, medians of the rounds",
                columns=(
                    "client",
                    "generations/s",
                    "p95, ms",
                    "its CPU a generation, ms",
                    "the server's, ms",
                ),
                rows=tuple(
                    (
                        title,
                        f"{median(rates[name]):.0f}",
                        f"{median(p95_ms[name]):.1f}",
                        f"{median(cpu_ms[name]):.2f}",
                        f"{median(server_cpu_ms[name]):.2f}",
                    )
                    for name, title in titles.items()
                ),
            )
        ],
        notes=[f"{title}: not measured: {why}" for title, why in absent.items()],
        data={
            "generations_per_s": rates,
            "p95_ms": p95_ms,
            "cpu_ms": cpu_ms,
            "server_cpu_ms": server_cpu_ms,
        },
    )


def _built(settings: Settings) -> tuple[list[Language], dict[str, str]]:
    """Return the languages that are built, and why the others are not, by their titles."""
    ready: list[Language] = []
    absent: dict[str, str] = {}
    for language in languages():
        settings.say(f"clients: building {language.title}")
        try:
            building.get(language.tools)
            building.run(language.build)
        except (NotHereError, building.CommandError) as error:
            absent[language.title] = str(error).splitlines()[0]
        else:
            ready.append(language)
    return ready, absent


def _asked(runner: Runner, server: ServerProcess, ask: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runner's answer, with the CPU time of both sides a generation."""
    before_s, server_before_s = _cpu_s(runner), server.cpu_s()
    answer = runner.ask(ask, ANSWER_TIMEOUT_S)
    spent_s, server_spent_s = _cpu_s(runner) - before_s, server.cpu_s() - server_before_s
    answer["cpu_ms"] = 1e3 * spent_s / ask["requests"]
    answer["server_cpu_ms"] = 1e3 * server_spent_s / ask["requests"]
    return answer


def _cpu_s(runner: Runner) -> float:
    times = psutil.Process(runner.pid).cpu_times()
    return times.user + times.system


def _p95_ms(answer: Mapping[str, Any]) -> float:
    latencies_s = sorted(answer["latencies_s"])
    return 1e3 * float(latencies_s[int(0.95 * len(latencies_s))])


def _figure(title: str, rates: list[float], reference: list[float]) -> Figure:
    ratio = ratio_of(rates, reference)
    return Figure(
        name=f"Generations a second of {STREAMS} streams: {title} by Python",
        asked="≥ 1.00 x",
        measured=ratio.shown(),
        met=ratio.median >= 1.0,
    )
