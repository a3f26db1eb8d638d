"""All that one Gateway counts and reads."""

from collections.abc import Callable

from leyden_server.errors import ModelNotFoundError
from leyden_server.generations.catalog import ModelCatalog
from leyden_server.generations.registry import Generations
from leyden_server.metrics.counting import Counting
from leyden_server.metrics.ledger import Ledger
from leyden_server.metrics.readings import Readings

__all__ = ["GatewayMetrics"]


class GatewayMetrics:
    """Counts from its making on; reads once it knows the house."""

    def __init__(self, catalog: ModelCatalog) -> None:
        """`catalog` has the names that may be labels."""
        self._ledger = Ledger()
        self._readings = Readings(self._ledger)
        self.observer = Counting(
            self._ledger, lambda name: _knows(catalog, name), self._readings.note_memory
        )
        """To be told of everything."""
        self.generations: Generations | None = None
        """What is read; None: nothing yet."""
        self.certificate_expiry_s: Callable[[], float | None] = lambda: None
        """Asked at each reading; None: there is no TLS."""

    def now(self) -> Ledger:
        """Return the ledger as it is now; whoever gets it changes nothing."""
        if self.generations is not None:
            self._readings.read(self.generations, self.certificate_expiry_s())
        return self._ledger


def _knows(catalog: ModelCatalog, name: str) -> bool:
    if not name:
        return False  # the default model's refusals are counted under no name but its own
    try:
        catalog.view(name)
    except ModelNotFoundError:
        return False
    return True
