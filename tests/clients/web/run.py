"""Builds, checks and tests the page, in a real browser: `make test-web`.

    python tests/clients/web/run.py [ARGUMENTS OF PYTEST]
    python tests/clients/web/run.py lint

Where Node or Chromium cannot be had, it says which, and the page is not tested. `lint` is a part of
`make lint`: style and types alone, with the Node that is here.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("tests", "client/python", "server")]

from clients import building  # noqa: E402 - found by the line above
from clients.languages.language import Command, NotHereError, Tool  # noqa: E402

PAGE = ROOT / "client" / "web"
NPM = Tool("npm", ["nodejs", "npm"])
CHROMIUM = Tool("chromium", ["chromium"])


INSTALL = str(ROOT / "client" / "typescript" / "scripts" / "install.mjs")
STYLE = (
    Command("page: packages (npm ci)", ["node", INSTALL], PAGE),
    Command("page: stubs", ["npm", "run", "stubs"], PAGE),
    Command("page: types (tsc)", ["npm", "run", "types"], PAGE),
    Command("page: style (eslint, prettier)", ["npm", "run", "lint"], PAGE),
)
BUILT = Command("page: built files are those of the sources", ["npm", "run", "check"], PAGE)


def lint() -> int:
    """Check style and types; 1 where something was found."""
    if not NPM.is_here():
        building.say("the page is not linted: npm is not here")
        return 0
    try:
        building.run(STYLE)
    except building.CommandError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run all of it; 1 where something failed."""
    if arguments == ["lint"]:
        return lint()
    try:
        building.get([NPM, CHROMIUM])
        building.run([*STYLE, BUILT])
    except NotHereError as error:
        building.say(f"the page is not tested: {error}")
        return 0
    except building.CommandError as error:
        print(error, file=sys.stderr)
        return 1
    building.say("page: in Chromium (pytest)")
    path = os.pathsep.join(str(ROOT / part) for part in ("tests", "server", "client/python"))
    tests = [sys.executable, "-m", "pytest", "-q", str(HERE), *arguments]
    return subprocess.run(
        tests, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
