"""How many rows of a batch pay, as a stage's warm-up measured it, or fit. No torch."""

from collections.abc import Callable, Mapping
from math import log

__all__ = ["RowCaps", "measure_row_cap", "smallest_good_row_count"]

# A batch that is slower per row than the best by less than this is as good, and
# leaves sooner.
TOLERANCE = 0.05
MAX_REPEATS = 5
ENOUGH_S = 0.2


def smallest_good_row_count(seconds: Mapping[int, float]) -> int:
    """Return the fewest rows whose rows per second are within 5% of the best.

    `seconds` is the time of one run by its number of rows.
    """
    rates = {rows: rows / duration for rows, duration in seconds.items()}
    enough = (1 - TOLERANCE) * max(rates.values())
    return min(rows for rows, rate in rates.items() if rate >= enough)


def measure_row_cap(run: Callable[[int], float], max_rows: int) -> tuple[int, dict[int, float]]:
    """Double the rows until they stop paying; return the cap and the seconds by rows.

    `run` runs the model once on so many rows and returns the seconds that it took, or
    raises MemoryError: so many do not pay either. Each
    count is timed up to five times and the fastest counts: on a shared machine a slower
    one has somebody else's work in it.
    """
    seconds: dict[int, float] = {}
    rows = 1
    while rows <= max_rows:
        try:
            seconds[rows] = _fastest(run, rows)
        except MemoryError:
            if rows == 1:
                raise
            break
        if smallest_good_row_count(seconds) < rows / 2:
            break
        rows = max_rows if rows < max_rows < 2 * rows else 2 * rows
    return smallest_good_row_count(seconds), seconds


def _fastest(run: Callable[[int], float], rows: int) -> float:
    run(rows)  # the first run at a size also allocates and picks kernels
    fastest = total = run(rows)
    repeats = 1
    while repeats < MAX_REPEATS and total < ENOUGH_S:
        duration = run(rows)
        fastest, total, repeats = min(fastest, duration), total + duration, repeats + 1
    return fastest


class RowCaps:
    """Caps by latent size.

    A size that was not measured has the nearest one's cap, and where it is larger than
    that, so many fewer rows: they would take memory that nobody has tried.
    """

    def __init__(self) -> None:
        self._by_pixels: dict[int, int] = {}

    def set(self, latent_pixels: int, rows: int) -> None:
        """Note the cap of a size: what pays, or after a batch without room what may have it."""
        self._by_pixels[latent_pixels] = rows

    def get(self, latent_pixels: int) -> int:
        """Return the cap of a size."""
        nearest = min(self._by_pixels, key=lambda known: abs(log(known / latent_pixels)))
        share = min(1.0, nearest / latent_pixels)
        return max(1, int(self._by_pixels[nearest] * share))

    def as_dict(self) -> dict[int, int]:
        """Return the measured caps by latent pixels."""
        return dict(self._by_pixels)
