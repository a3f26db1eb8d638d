"""Every metric: the one table behind the page's help texts and docs/metrics.md.

Units stand in the names. The label `model` is a name of the listing or empty, never what a client
made up.
"""

from types import ModuleType

from leyden_server.metrics import of_leyden, of_statistics, of_triton
from leyden_server.metrics.metric import Metric

__all__ = ["COUNTED_TOO", "METRICS"]


def _of(*modules: ModuleType) -> tuple[Metric, ...]:
    found = (value for module in modules for value in vars(module).values())
    return tuple(value for value in found if isinstance(value, Metric))


METRICS = _of(of_triton, of_leyden)
"""In the order in which they stand there, which is that of the page."""

COUNTED_TOO = _of(of_statistics)
"""What is not on the page."""
