"""Loads a running server and measures it: what `leyden bench` is made of.

workload   what each request asks for
load       closed loop and open loop; one Sample for each request
report     samples to figures
"""

from leyden_client.bench.load import Limit, closed_loop, open_loop, poisson_arrivals
from leyden_client.bench.report import Report, Spread, summarize
from leyden_client.bench.sample import Sample
from leyden_client.bench.workload import Workload

__all__ = [
    "Limit",
    "Report",
    "Sample",
    "Spread",
    "Workload",
    "closed_loop",
    "open_loop",
    "poisson_arrivals",
    "summarize",
]
