"""`leyden serve` as a peer, asked over gRPC."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from benchmarks.load import Loader
from benchmarks.on_gpu.loops import NotRunError
from benchmarks.on_gpu.sdxl_folder import MODEL, PROMPT
from benchmarks.server_process import ServerProcess
from leyden_client import Client
from leyden_client.bench import Sample, Workload

__all__ = ["LeydenPeer", "leyden_peer", "served_picture"]

CONNECTIONS = 8


class LeydenPeer:
    """A server that runs."""

    def __init__(self, server: ServerProcess) -> None:
        self.start_to_ready_s = server.start_to_ready_s
        self._address = server.address

    def picture(self) -> NDArray[Any]:
        """Return the pixels (H, W, 3)."""
        return served_picture(self._address)

    def closed(self, clients: int, requests: int) -> list[Sample]:
        """Run a closed loop, its first two rounds left out."""
        with Loader(self._address, Workload(), connections=clients) as loader:
            loader.closed(clients, 2 * clients)
            return loader.closed(clients, requests)

    def open(self, arrivals: Sequence[float]) -> list[Sample]:
        """Run an open loop."""
        with Loader(self._address, Workload(seed=1), connections=CONNECTIONS) as loader:
            loader.closed(CONNECTIONS, CONNECTIONS)
            return loader.open(arrivals)


@contextmanager
def leyden_peer(
    repository: Path, *, in_process: bool, config: Mapping[str, Any] | None
) -> Iterator[LeydenPeer]:
    """Start the server, and stop it.

    Raises:
        NotRunError: it did not start.

    """
    server = ServerProcess.leyden(
        MODEL, repository=repository, in_process=in_process, config=config
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except RuntimeError as error:
            raise NotRunError(str(error)) from error
        yield LeydenPeer(server)


def served_picture(address: str) -> NDArray[Any]:
    """Return the pixels (H, W, 3) of the image that all are compared by."""
    with Client(address) as client:
        (image,) = client.generate_image(PROMPT, seed=0).images
    with PIL.Image.open(io.BytesIO(image.data)) as opened:
        return np.asarray(opened)
