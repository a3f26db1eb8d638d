"""What each API key may have of the images: so many a minute, so many at once."""

import math
import time
from collections.abc import Callable

from leyden_server.errors import QuotaExceededError
from leyden_server.generations.account import Account

__all__ = ["Quotas", "Share"]

ROUNDING = 1e-6
"""In images: who comes back when he was told to is not sent away over a float's last bits."""

AT_ONCE_RETRY_S = 1.0
"""When to ask again where images are still being made: their end is not foreseen."""


class Quotas:
    """The limits of all keys at one Gateway, which has its part of them. For one event loop."""

    def __init__(self, gateways: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`gateways` share each limit evenly; another clock is a test's."""
        self._gateways = gateways
        self._clock = clock
        self._used: dict[str, _Used] = {}
        """By the keys' ids; one that was never used has none."""

    def take(self, account: Account, images: int) -> "Share":
        """Take so many images from what the account may have.

        Raises:
            QuotaExceededError: it may not have them now, or not in one request.

        """
        if account.images_per_minute is None and account.images_at_once is None:
            return Share(None, 0)
        used = self._used.setdefault(account.key_id, _Used(self._clock()))
        self._check_at_once(account, used, images)
        self._check_rate(account, used, images)
        used.running += images
        used.level -= images
        return Share(used, images)

    def _check_at_once(self, account: Account, used: "_Used", images: int) -> None:
        if account.images_at_once is None:
            return
        # Rounded down, so that all Gateways together keep to it; but one is one.
        most = max(1, account.images_at_once // self._gateways)
        limits = {"images_at_once": str(most)}
        if images > most:
            raise QuotaExceededError(
                "TOO_MANY_IN_ONE",
                f"the API key {account.name!r} may have {most} images at once here; got {images} "
                "in one request",
                limits,
                None,
            )
        if used.running + images > most:
            raise QuotaExceededError(
                "TOO_MANY_AT_ONCE",
                f"the API key {account.name!r} may have {most} images at once here, and has "
                f"{used.running}",
                limits,
                AT_ONCE_RETRY_S,
            )

    def _check_rate(self, account: Account, used: "_Used", images: int) -> None:
        """Look at a bucket that holds a minute's images.

        A request for more than it holds may have them where it is full, and is paid off later, so
        that over time no key has more than its rate, and no size of request is shut out.
        """
        if account.images_per_minute is None:
            return
        per_minute = account.images_per_minute / self._gateways
        most = max(1.0, per_minute)
        used.fill(self._clock(), per_minute / 60, most)
        missing = min(float(images), most) - used.level
        if missing > ROUNDING:
            raise QuotaExceededError(
                "RATE_LIMITED",
                f"the API key {account.name!r} may ask for {per_minute:g} images a minute here, "
                "and has done so",
                {"images_per_minute": f"{per_minute:g}"},
                missing * 60 / per_minute,
            )


class Share:
    """Images that a request has taken: given back when they are done, or were never begun."""

    def __init__(self, used: "_Used | None", images: int) -> None:
        self._used = used
        self._images = images

    def part(self, images: int) -> "Share":
        """Return so many of them as a share of their own."""
        self._images -= images
        return Share(self._used, images)

    def done(self) -> None:
        """Note that none of them is being made any more. Harmless when repeated."""
        if self._used is not None:
            self._used.running -= self._images
            self._used = None

    def refund(self) -> None:
        """Give all of it back: the request was not accepted. Harmless when repeated."""
        if self._used is not None:
            self._used.level += self._images
            self.done()


class _Used:
    """What one key has used."""

    def __init__(self, now_s: float) -> None:
        self.running = 0
        self.level = math.inf
        """Images that may be asked for now; below 0 where a large request is paid off."""
        self._filled_s = now_s

    def fill(self, now_s: float, per_s: float, most: float) -> None:
        """Add what has come since the last time; a limit that was lowered takes away."""
        self.level = min(most, self.level + (now_s - self._filled_s) * per_s)
        self._filled_s = now_s
