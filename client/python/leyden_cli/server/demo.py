"""`leyden demo`: a server, one picture, and nothing left behind."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from leyden_cli.main import main as leyden

__all__ = ["PROMPT", "demo"]

PROMPT = "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere"
SEED = 1
GENERATE = ["generate", PROMPT]


def demo(output: Path) -> int:
    """Generate the demo picture into `output`, saying what is done; return the exit code."""
    if not output.parent.is_dir():
        print(f"error: --output: {output.parent} is not a folder", file=sys.stderr)
        return 1
    started_s = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As a Ctrl-C would: what was started is stopped.
        signal.signal(number, signal.default_int_handler)
    _say("starting a server on a free port with the model that Leyden ships; Ctrl-C stops it")
    command = [sys.executable, "-m", "leyden_cli", "serve", "--in-process", "--port", "0"]
    # In one process, since it is there in half the time, and shows the same picture.
    # A session of its own, so that a Ctrl-C reaches the server once, through us.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            address = _wait_until_ready(server)
            if address is None:
                print("error: the server did not start", file=sys.stderr)
                return 1
            arguments = ["-o", str(output), "--seed", str(SEED), "--server", address]
            _say(f"the server is ready; running: {shlex.join(['leyden', *GENERATE, *arguments])}")
            code = leyden([*GENERATE, *arguments])
        finally:
            if server.poll() is None:
                _say("stopping the server")
                server.send_signal(signal.SIGINT)
            server.wait()
    if code == 0:
        took_s = time.monotonic() - started_s
        _say(f"{output} is there after {took_s:.0f} s; 'leyden serve' runs a server that stays")
    return code


def _say(what: str) -> None:
    print(f"demo: {what}", file=sys.stderr, flush=True)


def _wait_until_ready(server: "subprocess.Popen[str]") -> str | None:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("ready: grpc "):
            return line.split()[-1]
    return None
