"""Asks every client the same: `make test-clients`, and a part of `make lint` and `make protos`.

    python tests/clients/run.py [LANGUAGE...] [--case PART-OF-A-NAME]
    python tests/clients/run.py lint [LANGUAGE...]
    python tests/clients/run.py stubs write|check [LANGUAGE...]

README.md beside this file says how a language is added, and what its runner is asked.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT / "client" / "python"), str(ROOT / "server")]
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from clients import building  # noqa: E402 - found by the lines above
from clients.languages.all import UnknownLanguageError, languages  # noqa: E402
from clients.languages.language import Language, NotHereError  # noqa: E402


def lint(chosen: Sequence[Language]) -> int:
    """Run each language's formatter and linter where they are; 1 where one found something."""
    failed = False
    for language in chosen:
        try:
            building.lint(language)
        except building.CommandError as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


def stubs(action: str, chosen: Sequence[Language]) -> int:
    """Write or check the stubs of each language; 1 where one is stale or cannot be made."""
    failed = False
    for language in chosen:
        if language.stubs is None:
            continue
        try:
            if action == "write":
                building.get(language.tools)
                building.run(language.prepare_stubs)
                building.get(language.stub_tools)
                building.write_stubs(language.stubs)
            elif all(tool.is_here() for tool in language.stub_tools):
                failed |= _are_stale(language)
            else:
                building.say(f"{language.title}: stubs not checked, what makes them is not here")
        except NotHereError as error:
            building.say(f"{language.title}: stubs left alone: {error}")
        except building.CommandError as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


def _are_stale(language: Language) -> bool:
    assert language.stubs is not None
    stale = building.stale_stubs(language.stubs)
    if stale:
        cure = f"The stubs of {language.title} do not match protos/. Cure: make protos"
        print(*stale, cure, sep="\n", file=sys.stderr)
    return bool(stale)


def test(chosen: Sequence[Language], part: str) -> int:
    """Build every language, ask it every case, print the table; 1 where anything failed."""
    # Not imported by `make lint`: gRPC and the server's packages take a second.
    from clients.cases import read_cases
    from clients.proving import Proof
    from clients.scripting import scripted_house
    from clients.servers import Certificates, ServerError, servers
    from clients.table import Results
    from support.trace_collector import collecting

    cases = [case for case in read_cases() if part in case.name]
    if not cases:
        raise SystemExit(f"no case has {part!r} in its name")
    titles = {language.name: language.title for language in chosen}
    results = Results([case.name for case in cases], titles)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leyden-clients-")))
        building.say("starting the servers")
        certificates = Certificates(folder)
        traces = stack.enter_context(collecting())
        needed = {name for case in cases for name in case.servers}
        started = stack.enter_context(servers(folder, certificates, traces.endpoint, needed))
        ready = [language for language in chosen if _is_built(language, results)]
        if not ready:
            print(results.table())
            return 1
        try:
            scripted = stack.enter_context(scripted_house())
            proof = stack.enter_context(
                Proof(started(), scripted, traces, certificates, ready, results, folder)
            )
        except ServerError as error:
            print(error, file=sys.stderr)
            return 1
        proof.run(cases)
    print(f"\n{results.table()}\n\n{results.count()}")
    return 0 if results.passed else 1


def _is_built(language: Language, results: Any) -> bool:
    """Build a language and check what can be without a server; note why it cannot be run."""
    try:
        building.get(language.tools)
        building.run(language.build)
    except NotHereError as error:
        results.not_run[language.name] = str(error)
        building.say(f"{language.title}: not run: {error}")
        return False
    except building.CommandError as error:
        results.failed[language.name] = "its build"
        print(error, file=sys.stderr)
        return False
    try:
        building.run([*language.prepare_lint, *language.lint, *language.tests])
        if language.stubs is not None:
            building.run(language.prepare_stubs)
            building.get(language.stub_tools)
            if _are_stale(language):
                results.failed[language.name] = "its stubs are not what the protos give"
    except NotHereError as error:
        building.say(f"{language.title}: stubs not checked: {error}")
    except building.CommandError as error:
        results.failed[language.name] = str(error).splitlines()[0]
        print(error, file=sys.stderr)
    return True


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="LANGUAGE", help="default: all")
    parser.add_argument("--case", default="", help="only the cases with this in their name")
    given = parser.parse_args(arguments)
    # Either ends it as Ctrl-C does: what was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    match given.names:
        case ["lint", *names]:
            return lint(languages(names))
        case ["stubs", ("write" | "check") as action, *names]:
            return stubs(action, languages(names))
        case names:
            return test(languages(names), given.case)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UnknownLanguageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
