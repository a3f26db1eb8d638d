"""Asks the runners the cases, and writes down what became of each."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from clients.asking import Runner, RunnerError
from clients.building import say
from clients.cases import Case
from clients.comparing import log_differences, seen_differences
from clients.languages.language import Language
from clients.scenes import House, spend
from clients.servers import Certificates, Server
from clients.table import Outcome, Results, explained
from support.breaking_proxy import TcpProxy

__all__ = ["Proof"]

NOBODY = "127.0.0.1:1"
"""Where nobody listens: a port that is nobody's to give out."""


class Proof:
    """Servers and runners, and what is found out by them."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        certificates: Certificates,
        languages: Sequence[Language],
        results: Results,
        folder: Path,
    ) -> None:
        """Take servers that run, languages that are built, and what to write into."""
        self._servers = servers
        self._certificates = certificates
        self._languages = languages
        self._results = results
        self._houses = {name: House(servers[name]) for name in ("open", "draining")}
        self._runners = {
            language.name: Runner(language.runner, folder / f"{language.name}.log")
            for language in languages
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for runner in self._runners.values():
            runner.end()
        for house in self._houses.values():
            house.close()

    def run(self, cases: Sequence[Case]) -> None:
        """Ask every language every case; those of a server that drains come last."""
        spend(self._servers["tls"], self._certificates)
        drained = [case for case in cases if case.server == "draining"]
        for language in self._languages:
            self._ask_all(language, [case for case in cases if case not in drained])
        if drained:
            with self._houses["draining"].holding():
                self._servers["draining"].begin_to_drain()
                self._houses["draining"].wait_until_draining()
                for language in self._languages:
                    self._ask_all(language, drained)

    def _ask_all(self, language: Language, cases: Sequence[Case]) -> None:
        say(f"{language.title}: {len(cases)} cases")
        for case in cases:
            if case.name in language.compile_time:
                outcome = Outcome("compiler")
            else:
                outcome = self._outcome(language, case)
            self._results.outcomes[case.name, language.name] = outcome
            if outcome.cell == "FAILED":
                print(explained(case.name, language.title, case.about, outcome), flush=True)

    def _outcome(self, language: Language, case: Case) -> Outcome:
        request_id = f"{language.name}-{uuid.uuid4()}"
        house = self._houses["open"]
        with ExitStack() as stack:
            proxy = None
            target = NOBODY if case.server == "nobody" else self._servers[case.server].address
            if case.proxied:
                proxy = stack.enter_context(TcpProxy(target))
                target = proxy.target
            ask = _named({"name": case.name, "target": target, **case.ask}, request_id)
            ask |= self._certificates.asked(case.security)
            answer: dict[str, Any] = {}
            try:
                before = [_named(request, request_id) for request in case.before]
                stack.enter_context(house.before(before))
                other = self._servers["draining"].address
                with house.meanwhile(case.meanwhile, request_id, proxy, other):
                    answer = self._runners[language.name].ask(ask)
                found = seen_differences(case.expect, answer, self._files(case, answer))
                found += self._told(case, answer, request_id)
            except (RunnerError, TimeoutError) as error:
                found = [str(error)]
            except grpc.RpcError as error:
                found = [f"the harness' own call failed: {error.code()}: {error.details()}"]
            if proxy is not None and proxy.accepted < case.expect.least_connections:
                found.append(f"{proxy.accepted} connections were made")
        return Outcome("FAILED" if found else "ok", found, ask, answer)

    def _files(self, case: Case, answer: Mapping[str, Any]) -> list[str]:
        """Return the SHA-256 of the files that the server gives for what was asked."""
        if not case.expect.images:
            return []
        fields = {name: value for name, value in _fields(case).items() if name != "request_id"}
        if "seed" not in fields:
            images = answer.get("images") or [{"seed": "0"}]
            fields["seed"] = str(images[0]["seed"])
        return self._houses["open"].files(fields)

    def _told(self, case: Case, answer: Mapping[str, Any], request_id: str) -> list[str]:
        """Say where the server's log is not as expected."""
        if case.server == "nobody":
            return []
        server = self._servers[case.server]
        name = request_id if "$ID" in str(case.ask) else str(answer.get("request_id") or "")
        if case.expect.sends_nothing:
            lines = server.lines(request_id)
            return [f"the server heard of it: {lines}"] if lines else []
        if case.expect.log is None:
            return []
        if not name:
            return ["the client did not tell the request_id"]
        return log_differences(case.expect.log, server.ended(name))


def _fields(case: Case) -> Mapping[str, Any]:
    """Return the request that the images of a case come from."""
    fields: Mapping[str, Any] = case.ask.get("request", {})
    if case.ask["call"] == "watch":
        ours = {"linger_s", "wait", "cancel"}
        fields = {name: value for name, value in case.before[0].items() if name not in ours}
    return fields


def _named(entry: Any, request_id: str) -> Any:
    """Put the name of this generation where the table says `$ID`."""
    match entry:
        case dict():
            return {name: _named(value, request_id) for name, value in entry.items()}
        case str():
            return entry.replace("$ID", request_id)
        case _:
            return entry
