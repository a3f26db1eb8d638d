"""How the tests are spread over the processes of `make test`; `support.spread` says why."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from support.spread import is_measured

MEASURES = "COVERAGE_PROCESS_CONFIG"
"""By this variable coverage.py measures the processes that a measured one starts."""


@pytest.hookimpl(optionalhook=True)  # asked by pytest-xdist alone
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from support.spread import Spread

    return Spread(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let what takes longest set out first, where tests run side by side."""
    if config.pluginmanager.hasplugin("xdist"):
        from support.spread import turn

        items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Measure the processes that a test starts, or not."""
    config = os.environ.get(MEASURES)
    if config is not None and not is_measured(item.nodeid):
        del os.environ[MEASURES]
    try:
        return (yield)
    finally:
        if config is not None:
            os.environ[MEASURES] = config
