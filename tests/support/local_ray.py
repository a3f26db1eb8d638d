"""A Ray of a test's own process."""

from collections.abc import Iterator
from contextlib import contextmanager

import ray

__all__ = ["local_ray"]

TRIES = 3
TOO_LATE = "timed out during startup"
"""Ray (2.60) gives its node 30 s to start, whatever is set: on a busy machine it tries again."""


@contextmanager
def local_ray() -> Iterator[None]:
    """Run one with a single CPU."""
    for tries_left in reversed(range(TRIES)):
        try:
            ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        except Exception as error:
            ray.shutdown()
            if TOO_LATE not in str(error) or not tries_left:
                raise
        else:
            break
    yield
    ray.shutdown()
