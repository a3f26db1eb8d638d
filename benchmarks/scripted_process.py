"""The scripted server of the tests as a process: `python -m benchmarks.scripted_process`.

Every generation is the same six events, with a preview at each step and an image of 64 KiB.
It costs next to nothing, so that a client's own work is what limits it.
"""

import signal
import sys
import threading

from benchmarks.conditions import REPOSITORY

sys.path.append(str(REPOSITORY / "tests"))

from support.scripted_server import ScriptedServer, serve, whole_script

STREAMS = 32
"""Calls that are answered at once."""


def main() -> int:
    """Serve until SIGINT or SIGTERM."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    scripted = ScriptedServer(script=whole_script(bytes(64 * 1024)))
    server = serve(scripted, workers=STREAMS)
    print(f"ready: grpc {scripted.target}", flush=True)
    ended.wait()
    server.stop(grace=None).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
