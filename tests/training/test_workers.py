"""Signals to the process that started the workers reach them; the only worker leaves no trace."""

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from leyden_training.workers import Workers, run_workers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("early", [True, False])
def test_workers_stop_by_a_signal_to_their_parent(
    tmp_path: Path, number: signal.Signals, early: bool
) -> None:
    """Early is before a worker has imported what it is to do."""
    (tmp_path / "waiting.py").write_text(
        textwrap.dedent(
            """
            import time
            from pathlib import Path

            from leyden_training.run_folder import StopRequest
            from leyden_training.workers import Workers, run_workers


            def wait(workers: Workers, folder: Path) -> None:
                stop = StopRequest()
                (folder / f"begun-{workers.rank}").touch()
                while not workers.any(stop.asked):
                    time.sleep(0.01)
                (folder / f"stopped-{workers.rank}").touch()


            if __name__ == "__main__":
                folder = Path(__file__).parent
                run_workers(wait, {"folder": folder}, 2)
                (folder / "returned").touch()
            """
        )
    )
    process = subprocess.Popen([sys.executable, tmp_path / "waiting.py"], cwd=tmp_path)
    try:
        parent, begun = psutil.Process(process.pid), tmp_path / "begun-1"
        while not (has_spawned(parent) if early else begun.exists()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() == 0
    finally:
        process.kill()
    found = {file.name for file in tmp_path.iterdir()}
    assert {"stopped-0", "stopped-1", "returned"} <= found


def has_spawned(parent: psutil.Process) -> bool:
    """Whether both workers are there."""
    commands = []
    for child in parent.children():
        with suppress(psutil.Error):  # torch looks around by commands that end while we look
            commands.append(" ".join(child.cmdline()))
    return sum("spawn_main" in command for command in commands) == 2


def test_the_only_worker_leaves_threads_and_signals_as_they_were() -> None:
    """It runs in this process, as stages that may use every core do after it."""
    before, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []

    def work(workers: Workers) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        seen.append(torch.get_num_threads() if workers.device.type == "cpu" else 1)
        raise ValueError("stopped")

    try:
        with pytest.raises(ValueError, match="stopped"):
            run_workers(work, {}, 1)
        assert seen == [1]
        assert torch.get_num_threads() == 2
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, before)
