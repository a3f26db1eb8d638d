"""How the tests are spread over the processes of `make test`; `support.spread` says why."""

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)  # asked by pytest-xdist alone
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from support.spread import Spread

    return Spread(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let what takes longest set out first, where tests run side by side."""
    if config.pluginmanager.hasplugin("xdist"):
        from support.spread import turn

        items.sort(key=lambda item: turn(item.nodeid))
