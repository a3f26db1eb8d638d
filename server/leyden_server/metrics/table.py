"""Every metric: the one table behind the page's help texts and docs/metrics.md.

Units stand in the names. The label `model` is a name of the listing or empty, never what a client
made up.
"""

from leyden_server.metrics import of_leyden, of_triton
from leyden_server.metrics.metric import Metric

__all__ = ["METRICS"]

METRICS: tuple[Metric, ...] = tuple(
    value
    for module in (of_triton, of_leyden)
    for value in vars(module).values()
    if isinstance(value, Metric)
)
"""In the order in which they stand there, which is that of the page."""
