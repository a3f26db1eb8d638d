"""A CPU's cores: all of them for a stage that works alone, one each where several work."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from leyden_server.accelerator.cores import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    QUIET_S,
    Cores,
    CoreShare,
    available_cores,
)

PATIENCE_S = 30.0
WHAT = "a run"


class Clock:
    """A clock that moves when somebody works."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def work(self) -> None:
        """Take a second of one core."""
        self.now_s += 1 / torch.get_num_threads()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch have one thread here, as in a stage's own thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cores(clock: Clock) -> Iterator[Cores]:
    cores = Cores(4, clock=clock)
    yield cores
    cores.stop()


def a_stage(cores: Cores, clock: Clock) -> CoreShare:
    """Return a share of somebody whom all four cores help, and whose time with one is known."""
    share = cores.share()
    share.measure(lambda: 1 / torch.get_num_threads())
    assert share.threads == 4
    share.run(WHAT, clock.work)
    return share


def where() -> tuple[int, int]:
    """Return the thread that this runs in, and how many torch has in it."""
    return threading.get_ident(), torch.get_num_threads()


def test_who_works_alone_has_all_cores_in_a_thread_that_is_always_the_same(
    cores: Cores, clock: Clock
) -> None:
    shares = [a_stage(cores, clock) for _ in range(2)]
    places = []

    def run() -> None:
        clock.work()
        places.append(where())

    for share in (*shares, shares[0]):
        share.run(WHAT, run)
    assert {threads for _, threads in places} == {4}
    assert len({thread for thread, _ in places}) == 1
    assert places[0][0] != threading.get_ident()


def test_what_a_run_takes_with_one_core_is_known_before_it_has_all(
    cores: Cores, clock: Clock
) -> None:
    share = a_stage(cores, clock)
    assert share.run("another", where) == (threading.get_ident(), 1)
    assert share.run(WHAT, where)[1] == 4


def test_two_who_want_to_work_at_once_have_a_core_each_until_it_is_quiet(
    cores: Cores, clock: Clock
) -> None:
    first, second = a_stage(cores, clock), a_stage(cores, clock)
    begun, may_end = threading.Event(), threading.Event()

    def held_up() -> int:
        begun.set()
        assert may_end.wait(PATIENCE_S)
        return where()[1]

    def threads_of(share: CoreShare) -> int:
        return stages.submit(share.run, WHAT, where).result(PATIENCE_S)[1]

    with ThreadPoolExecutor(2, "stage", torch.set_num_threads, (1,)) as stages:
        alone = stages.submit(first.run, WHAT, held_up)
        assert begun.wait(PATIENCE_S)
        # The other one waits: there is no core for it.
        late = stages.submit(second.run, WHAT, where)
        assert cores.wait_for_waiting(1, PATIENCE_S)
        assert not late.done()
        may_end.set()
        assert alone.result(PATIENCE_S) == 4
        assert late.result(PATIENCE_S)[1] == 1
        assert threads_of(first) == 1
        clock.now_s += QUIET_S
        assert threads_of(first) == 4


def test_where_there_is_work_for_all_nobody_waits(cores: Cores, clock: Clock) -> None:
    shares = [a_stage(cores, clock) for _ in range(3)]
    together = threading.Barrier(3)

    def run() -> int:
        together.wait(PATIENCE_S)
        return where()[1]

    cores.begin(may_have_all=False)  # somebody works with one core
    with ThreadPoolExecutor(3, "stage", torch.set_num_threads, (1,)) as stages:
        runs = [stages.submit(share.run, WHAT, run) for share in shares]
        assert [one.result(PATIENCE_S) for one in runs] == [1, 1, 1]
    cores.end()


def test_where_all_cores_gain_nothing_there_is_a_pause_that_grows(
    cores: Cores, clock: Clock
) -> None:
    share = a_stage(cores, clock)
    seen = []

    def on_a_busy_machine() -> None:
        seen.append(torch.get_num_threads())
        clock.now_s += 1.0 if seen[-1] == 1 else 12.0

    def seen_in(seconds: float) -> list[int]:
        seen.clear()
        end_s = clock.now_s + seconds
        while clock.now_s < end_s:
            share.run(WHAT, on_a_busy_machine)
        return seen

    assert seen_in(FIRST_PAUSE_S + 12).count(4) == 1
    # Each pause is twice the one before, up to the longest.
    hour = seen_in(3600)
    assert 5 < hour.count(4) < 20
    assert seen_in(LONGEST_PAUSE_S + 12).count(4) <= 2
    clock.now_s += LONGEST_PAUSE_S
    share.run(WHAT, clock.work)
    assert share.run(WHAT, where)[1] == 4


def test_what_a_run_raises_is_raised_and_the_cores_are_free_again(
    cores: Cores, clock: Clock
) -> None:
    share = a_stage(cores, clock)

    def fails() -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        share.run(WHAT, fails)
    assert share.run(WHAT, where)[1] == 4


def test_more_threads_are_taken_while_they_gain(cores: Cores) -> None:
    share = cores.share()
    seconds = {1: 1.0, 2: 0.6, 4: 0.58}
    share.measure(lambda: seconds[torch.get_num_threads()])
    assert share.threads == 2
    nothing = cores.share()
    nothing.measure(lambda: 1.0)
    assert nothing.threads == 1
    assert {nothing.run(WHAT, where)[0] for _ in range(2)} == {threading.get_ident()}


def test_without_cores_to_share_all_runs_where_it_is_called() -> None:
    share = CoreShare()
    share.measure(lambda: pytest.fail("nothing is to be measured"))
    assert {share.run(WHAT, where)[0] for _ in range(2)} == {threading.get_ident()}


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    bound = available_cores(tmp_path / "none")
    assert bound >= 1
    file = tmp_path / "cpu.max"
    for text, expected in (
        ("max 100000\n", bound),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        (f"{bound * 100000} 100000\n", bound),
        (f"{9 * bound * 100000} 100000\n", bound),
        ("what is that\n", bound),
    ):
        file.write_text(text, encoding="ascii")
        assert available_cores(file) == expected
