"""Asks the runners the cases, and writes down what became of each."""

import secrets
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
from clients.comparing import log_differences, seen_differences, state_differences
from clients.languages.language import Language
from clients.scenes import House, spend
from clients.scripting import ScriptedHouse
from clients.servers import Certificates, Server
from clients.table import Outcome, Results, explained
from support.breaking_proxy import TcpProxy
from support.trace_collector import TraceCollector

__all__ = ["Proof"]

SPAN_ID = "00f067aa0ba902b7"
"""The caller's span, which the server's are to be below."""
NOBODY = "127.0.0.1:1"
"""Where nobody listens: a port that is nobody's to give out."""


class Proof:
    """Servers and runners, and what is found out by them."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        scripted: ScriptedHouse,
        traces: TraceCollector,
        certificates: Certificates,
        languages: Sequence[Language],
        results: Results,
        folder: Path,
    ) -> None:
        """Take servers that run, languages that are built, and what to write into."""
        self._servers = servers
        self._scripted = scripted
        self._traces = traces
        self._certificates = certificates
        self._languages = languages
        self._results = results
        self._houses = {
            name: House(servers[name]) for name in ("open", "draining") if name in servers
        }
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
        if "tls" in self._servers:
            # Anew for each language: in some minutes the key has images again.
            spend(self._servers["tls"], self._certificates)
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
            target = self._target(case)
            if case.proxied:
                proxy = stack.enter_context(TcpProxy(target))
                target = proxy.target
            trace_id = secrets.token_hex(16)
            ask = {"name": case.name, "target": target, **case.ask}
            ask = _named(ask, {"$ID": request_id, "$TRACE": trace_id, "$SPAN": SPAN_ID})
            ask |= self._certificates.asked(case.security)
            answer: dict[str, Any] = {}
            try:
                before = [_named(request, {"$ID": request_id}) for request in case.before]
                if case.script is not None:
                    self._scripted.begin(case.script)
                stack.enter_context(house.before(before))
                other = self._servers.get("draining", self._servers["open"]).address
                with house.meanwhile(case.meanwhile, request_id, proxy, other):
                    answer = self._runners[language.name].ask(ask)
                found = seen_differences(case.expect, answer, self._files(case, answer))
                found += self._told(case, answer, request_id)
                found += self._known(case, answer)
                found += self._traced(case, trace_id)
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
        if case.server == "scripted":
            heard = bool(self._scripted.cancels)
            wrong = f"CancelGeneration was {'' if heard else 'not '}called"
            return [wrong] if heard != case.expect.cancels else []
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

    def _known(self, case: Case, answer: Mapping[str, Any]) -> list[str]:
        """Say where the models, or the server's state, are not as expected."""
        found = []
        house = self._houses["open"]
        if case.expect.model_states:
            states = house.model_states()
            found += [
                f"the model {name} is {states.get(name)}, not {due}"
                for name, due in case.expect.model_states.items()
                if states.get(name) != due
            ]
        if case.expect.server_state:
            scripted = case.server == "scripted"
            due = self._scripted.state if scripted else house.state()
            found += state_differences(due, answer.get("state"), whole=scripted)
        return found

    def _traced(self, case: Case, trace_id: str) -> list[str]:
        """Say which calls did not come with the trace and the span that were asked for."""
        if not case.expect.traced:
            return []
        if case.server == "scripted":
            due = f"00-{trace_id}-{SPAN_ID}-01"
            calls = self._scripted.calls
            methods = {method for method, _ in calls}
            others = [f"{method} {said!r}" for method, said in calls if said != due]
        else:
            span = self._traces.request(trace_id)
            methods = {span.name.split("/")[-1]}
            others = [span.parent_span_id.hex()] if span.parent_span_id.hex() != SPAN_ID else []
        found = [f"without the caller's span: {others}"] if others else []
        if methods != set(case.expect.traced):
            found.append(f"the calls were {sorted(methods)}, not {sorted(case.expect.traced)}")
        return found

    def _target(self, case: Case) -> str:
        match case.server:
            case "nobody":
                return NOBODY
            case "scripted":
                return self._scripted.address
            case name:
                return self._servers[name].address


def _fields(case: Case) -> Mapping[str, Any]:
    """Return the request that the images of a case come from."""
    fields: Mapping[str, Any] = case.ask.get("request", {})
    if case.ask["call"] == "watch":
        ours = {"linger_s", "wait", "cancel"}
        fields = {name: value for name, value in case.before[0].items() if name not in ours}
    return fields


def _named(entry: Any, names: Mapping[str, str]) -> Any:
    """Put what was drawn for this case where the table says `$ID` and so on."""
    match entry:
        case dict():
            return {name: _named(value, names) for name, value in entry.items()}
        case str():
            for name, drawn in names.items():
                entry = entry.replace(name, drawn)
            return entry
        case _:
            return entry
