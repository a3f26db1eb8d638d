"""How many rows of a batch pay, as a stage's warm-up measured it, or fit. No torch."""

from collections.abc import Callable, Mapping
from math import log

from leyden_server.accelerator.row_times import RowTimes

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
    """What pays by latent size.

    A size that was not measured has the nearest one's times, and where it is larger than
    that, so many fewer rows than its cap: they would take memory that nobody has tried.
    """

    def __init__(self) -> None:
        self._by_pixels: dict[int, RowTimes] = {}

    def set(self, latent_pixels: int, rows: int) -> None:
        """Let so many rows of a size pay, however many there are."""
        self.set_times(latent_pixels, RowTimes.flat(rows))

    def set_times(self, latent_pixels: int, times: RowTimes) -> None:
        """Let pay of a size what does by its times."""
        self._by_pixels[latent_pixels] = times

    def limit(self, latent_pixels: int, rows: int) -> None:
        """Let a size have so many rows at the most, after a batch without room for more."""
        self.set_times(latent_pixels, self._times(latent_pixels).up_to(rows))

    def get(self, latent_pixels: int) -> int:
        """Return the cap of a size: the rows of a batch where there are many."""
        return self._times(latent_pixels).cap

    def paying(self, latent_pixels: int, there: int) -> int:
        """Return how many of the rows of a size that are there make the next batch."""
        return self._times(latent_pixels).paying(there)

    def as_dict(self) -> dict[int, int]:
        """Return the caps by latent pixels, of the sizes that have their own."""
        return {pixels: times.cap for pixels, times in self._by_pixels.items()}

    def _times(self, latent_pixels: int) -> RowTimes:
        nearest = min(self._by_pixels, key=lambda known: abs(log(known / latent_pixels)))
        times = self._by_pixels[nearest]
        if nearest >= latent_pixels:
            return times
        return times.up_to(max(1, int(times.cap * nearest / latent_pixels)))
