"""`leyden demo`: a server, one picture, and nothing left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from leyden_cli.main import main as leyden

__all__ = ["PROMPT", "demo"]

PROMPT = "A serene mountain lake at sunrise, soft lighting, peaceful atmosphere"
SEED = 1


def demo(output: Path) -> int:
    """Generate the demo picture into `output`; return the exit code."""
    started_s = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As a Ctrl-C would: what was started is stopped.
        signal.signal(number, signal.default_int_handler)
    command = [sys.executable, "-m", "leyden_cli", "serve", "--port", "0"]
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
            code = leyden(["generate", PROMPT, *arguments])
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
            server.wait()
    if code == 0:
        print(f"the demo took {time.monotonic() - started_s:.0f} s; its picture is {output}")
    return code


def _wait_until_ready(server: "subprocess.Popen[str]") -> str | None:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("ready: grpc "):
            return line.split()[-1]
    return None
