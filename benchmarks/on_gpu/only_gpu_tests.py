"""A plugin of pytest that keeps the tests that need a GPU: `pytest -p` and this module's name.

With `--outcomes FILE` each one's outcome is a line of that file as soon as it is known, so that a
run that is stopped has told of those before.
"""

import json
from pathlib import Path

import pytest

__all__ = [
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
]

REASON = "needs a CUDA device"
"""How the reason begins that such a test is skipped for."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--outcomes", type=Path, help="write a line for each test to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Write outcomes where that is asked for."""
    file: Path | None = config.getoption("--outcomes")
    if file is not None:
        file.touch()
        config.pluginmanager.register(_Outcomes(file))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop all others."""
    kept = [
        item
        for item in items
        if any(
            str(mark.kwargs.get("reason", "")).startswith(REASON)
            for mark in item.iter_markers("skipif")
        )
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


class _Outcomes:
    """Writes a line for each test that ended."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's call, or what kept it from being called."""
        if report.when == "call" or report.outcome != "passed":
            line = json.dumps({"test": report.nodeid, "outcome": report.outcome})
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
