"""A plugin of pytest that keeps the tests that need a GPU: `pytest -p` and this module's name."""

import pytest

__all__ = ["pytest_collection_modifyitems"]

REASON = "needs a CUDA device"
"""How the reason begins that such a test is skipped for."""


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
