"""What a test program has started does not outlive it, whatever ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from clients.languages.language import ROOT
from support.patience import PATIENCE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that ends them")

HARNESS = """
import sys, time
from pathlib import Path
from clients import servers
folder = Path(sys.argv[1])
config = {"models": [servers.LIGHTNING], "gateway": {}}
with servers._starting("alone", config, folder) as (process, log):
    print(process.pid, flush=True)
    sys.stdin.read()
"""
"""Starts a server as `make test-clients` does."""

COMMANDS = """
import sys
from clients.building import run
from clients.languages.language import Command
script = "import os, time; print(os.getpid(), file=open(%r, 'w'), flush=True); time.sleep(600)"
inner = [sys.executable, "-c", script % sys.argv[1]]
run([Command("a build of two processes", ["sh", "-c", '"$@"; true', "sh", *inner])])
"""
"""Runs a command of a language, which starts another."""


def _environment() -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("tests", "server", "client/python"))
    return {**os.environ, "PYTHONPATH": path}


def _ends(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(PATIENCE_S) is None
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM], ids=lambda by: by.name)
def test_a_server_ends_with_its_harness(by: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    ) as harness:
        assert harness.stdout is not None
        server = int(harness.stdout.readline())
        assert psutil.pid_exists(server)
        harness.send_signal(by)
        assert _ends(server)


def test_a_command_ends_with_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS, str(file)], env=_environment(), stdout=subprocess.DEVNULL
    ) as harness:
        while not (file.exists() and file.read_text("utf-8").strip()):
            assert harness.poll() is None
            os.sched_yield()
        inner = int(file.read_text("utf-8"))
        harness.send_signal(signal.SIGINT)
        assert _ends(inner)
