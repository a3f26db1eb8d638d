"""Which tests go to one process together, where `make test` has several (pytest-xdist).

The tests of one file do, so that what its fixtures make is made once and in order. All that
start Ray do too, one after another: two Rays at once would halve each other's cores, and their
tests wait for starts and deaths. So do files that share what is dear to make.

xdist's own groups (`--dist loadgroup`) are not used: 3.8 writes them into a field that pytest 9.2
no longer has, and then spreads single tests.
"""

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Spread", "is_measured", "turn"]

RAY = (
    "tests/cli/test_directory.py",
    "tests/cli/test_joined_ray.py",
    "tests/cli/test_models_over_ray.py",
    "tests/cli/test_room.py",
    "tests/cli/test_serve.py",
    "tests/cli/test_serve_config.py",
    "tests/cli/test_stage_scaling.py",
    "tests/benchmarks/test_gpu_server_benchmark.py",
    "tests/server/test_kserve_leaving.py",
    "tests/server/test_large_images.py",
    "tests/server/test_leaving.py",
    "tests/server/test_metrics.py",
    "tests/server/test_protocols.py",
    "tests/server/test_several_models.py",
    "tests/server/test_stage_",
    "tests/server/test_traced_stages.py",
)
"""Where tests start Ray; how their paths from the repository's root begin."""

TOGETHER = {
    "ray": RAY,
    "the server in this process": ("tests/server/",),
    "the tiny evaluation": (
        "tests/training/test_classifier.py",
        "tests/training/test_evaluation",
        "tests/training/test_two_sample.py",
    ),
    "the tiny teacher": (
        "tests/training/test_distillation_",
        "tests/training/test_student_lora.py",
    ),
}
"""Files that share what is dear to make; the first that fits counts."""

WITHOUT_RAY = (
    "tests/cli/test_door_options.py",
    "tests/cli/test_demo.py",
    "tests/cli/test_in_process.py",
    "tests/cli/test_log_format.py",
    "tests/cli/test_serve_options.py",
)
"""Where tests run the `leyden` command with what starts no Ray."""

MEASURED = ("tests/cli/test_serve.py",)
"""Of RAY, where the processes that the tests start count for the coverage.

To measure one costs its start a fifth more, and Ray starts dozens, which all run the same.
"""

LONG = (
    "tests/benchmarks/",
    "tests/cli/",
    "tests/server/",
    "tests/training/",
    "tests/unit/test_channel_options.py",
    "tests/unit/test_unet_runner.py",
)
"""What is begun before the many files that are done in no time."""


def is_measured(nodeid: str) -> bool:
    """Tell whether the processes that a test starts count for the coverage."""
    return nodeid.startswith(MEASURED) or not nodeid.startswith(RAY)


def turn(nodeid: str) -> int:
    """Return when a test's turn is: that process has the longest way which has RAY."""
    if nodeid.startswith(RAY):
        return 0
    return 1 if nodeid.startswith(LONG) else 2


class Spread(LoadScopeScheduling):  # type: ignore[misc] # xdist is untyped
    """Gives a process a file at a time, or all files of one entry of TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        for shared, beginnings in TOGETHER.items():
            if nodeid.startswith(beginnings):
                return shared
        return nodeid.partition("::")[0]
