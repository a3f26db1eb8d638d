"""The connection of a command to its server."""

import os

from leyden_client.client import Client


def connect(server: str) -> Client:
    """Return a client of `server` that leaves stderr to the command."""
    # gRPC logs to stderr, in the midst of the progress display, what the command
    # then says as an error. Read at the first use of gRPC; a user's own wins.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    return Client(server)
