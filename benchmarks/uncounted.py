"""A Gateway that counts nothing, to compare with: every other one counts.

`python -m benchmarks.uncounted serve …` is `leyden serve …` of such a one, in one process alone.
"""

import sys

from leyden_cli.main import main
from leyden_server.generations.records import Observer
from leyden_server.metrics import gateway_metrics

__all__ = ["count_nothing"]


class _CountsNothing(Observer):
    def __init__(self, *_: object) -> None: ...


def count_nothing() -> None:
    """Have the Gateways that are made from now on in this process count nothing."""
    gateway_metrics.Counting = _CountsNothing  # type: ignore[assignment,misc]


if __name__ == "__main__":
    count_nothing()
    sys.exit(main())
