"""What clients do: good requests side by side, and each way in which one does not end well."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event

from cluster.monitoring.server import Server
from cluster.monitoring.waiting import wait_for
from support.patience import PATIENCE_S

from leyden_client import (
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    OverloadedError,
)

__all__ = ["bench", "clients_mistakes", "held_open", "overload"]

PROMPT = "a lighthouse at dusk"

TOO_SOON_S = 0.2
"""A client that is refused comes back after so long, whatever it was told."""


def bench(server: Server, *, clients: int, requests: int, ca: str = "") -> str:
    """Load a server with `leyden bench`; return its table."""
    command = [sys.executable, "-m", "leyden_cli", "bench", "--server", server.address]
    command += ["--clients", str(clients), "--requests", str(requests), "--steps", "4"]
    command += ["--ca", ca] if ca else []
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_S
    )
    if done.returncode != 0:
        raise RuntimeError(f"leyden bench: {done.stdout}{done.stderr}")
    return done.stdout


def clients_mistakes(client: Client) -> None:
    """Ask wrongly, leave, lose patience: what is the clients' own doing and no fault."""
    _fails(InvalidArgumentError, lambda: client.generate_image(PROMPT, num_inference_steps=99_999))
    _fails(
        DeadlineExceededError,
        lambda: client.generate_image(PROMPT, timeout_s=1.5, num_inference_steps=100, seed=1),
    )
    events = client.stream_image(PROMPT, num_inference_steps=100, seed=2)
    next(events)
    events.close()
    for _ in range(2):
        client.generate_image(PROMPT, seed=3)  # the second time its prompt is known


def overload(client: Client, stop: Event, refused: Callable[[], bool], streams: int = 12) -> None:
    """Ask for more than may wait, again and again, until `refused` says that it was enough."""

    def ask(number: int) -> None:
        while not stop.is_set():
            with suppress(OverloadedError):
                client.generate_image(PROMPT, num_inference_steps=20, seed=number, image_count=4)
            stop.wait(TOO_SOON_S)

    with ThreadPoolExecutor(streams) as pool:
        asking = [pool.submit(ask, number) for number in range(streams)]
        try:
            wait_for("the alerts of an overload", refused)
        finally:
            stop.set()
        for one in asking:
            one.result(PATIENCE_S)


@contextmanager
def held_open(client: Client) -> Iterator[None]:
    """Have one long generation under way, which is left at the end of the block."""
    events = client.stream_image(PROMPT, num_inference_steps=100, image_count=8, seed=4)
    try:
        while next(events).__class__.__name__ != "TextEncoded":
            pass
        yield
    finally:
        events.close()


def _fails(kind: type[Exception], call: Callable[[], object]) -> None:
    """Make a call that is to fail in this way.

    Raises:
        AssertionError: it did not.

    """
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was to come")
