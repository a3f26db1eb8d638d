"""Which tests go to one process together, where `make test` has several (pytest-xdist).

The tests of one file do, so that what its fixtures make is made once and in order. All that
start Ray do too, one after another: two Rays at once would halve each other's cores, and their
tests wait for starts and deaths. xdist's own groups (`--dist loadgroup`) are not used: 3.8 writes
them into a field that pytest 9.2 no longer has, and then spreads single tests.
"""

from xdist.scheduler import LoadScopeScheduling

__all__ = ["RAY", "Spread", "turn"]

RAY = ("tests/server/", "tests/cli/", "tests/benchmarks/test_gpu_server_benchmark.py")
"""Where tests start Ray; paths from the repository's root."""

LONG = ("tests/training/", "tests/benchmarks/", "tests/unit/test_unet_runner.py")
"""What is begun before the many files that are done in no time."""


def turn(nodeid: str) -> int:
    """Return when a test's turn is: that process has the longest way which has RAY."""
    if nodeid.startswith(RAY):
        return 0
    return 1 if nodeid.startswith(LONG) else 2


class Spread(LoadScopeScheduling):  # type: ignore[misc] # xdist is untyped
    """Gives a process a file at a time, and all of RAY to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(RAY) else nodeid.partition("::")[0]
