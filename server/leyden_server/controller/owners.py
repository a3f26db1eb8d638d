"""Which Gateway owns which name, as the directory knows it; nothing here awaits or calls."""

import time
from collections.abc import Callable, Sequence

from leyden_server.generations.account import ANY_KEY

__all__ = ["BEAT_PERIOD_S", "GONE_AFTER_S", "HOLD_S", "TAG_CHARS", "Owners"]

BEAT_PERIOD_S = 1.0
"""How often a Gateway says that it is there."""

GONE_AFTER_S = 4.0
"""One that has been silent for so long is gone, with its names."""

HOLD_S = GONE_AFTER_S
"""How long a new actor waits for the Gateways' names: whoever is not heard then is gone."""

OF_ANY_KEY = f"{ANY_KEY}/"

TAG_CHARS = 12
"""The last group of a UUID, which a Gateway draws once in place of each time."""


class Owners:
    """What the directory knows. One call at a time.

    `hold_s`: for how long nothing is given out. Another clock is a test's.
    """

    def __init__(self, hold_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hold_until_s = clock() + hold_s
        self._last_call_s = clock()
        self._beaten_s: dict[str, float] = {}
        self._owners: dict[str, str] = {}
        self._tagged: dict[str, str] = {}
        """Gateways by their tags."""

    def register(self, address: str, tag: str, names: Sequence[str], is_new: bool) -> None:
        """Take a Gateway in with its names; one that another has by now stays there.

        A new one has nothing of what a former one had at its address.
        """
        self._look_around()
        if is_new:
            self._drop_names_of(address)
        self._beaten_s[address] = self._clock()
        self._tagged[tag] = address
        for name in names:
            self._owners.setdefault(name, address)

    def beat(self, address: str, forgotten: Sequence[str] = ()) -> bool:
        """Note that a Gateway is there; False: it has to register again.

        `forgotten` are names that it gives back.
        """
        self._look_around()
        self._forget(address, forgotten)
        if address not in self._beaten_s:
            return False
        self._beaten_s[address] = self._clock()
        return True

    def claim(self, address: str, name: str, forgotten: Sequence[str] = ()) -> str | float | None:
        """Give a name to a Gateway. None: it has it; else its owner.

        Or a number: the Gateway has to register, and to ask again in so many seconds.
        """
        self._look_around()
        self._forget(address, forgotten)
        if self._clock() < self._hold_until_s:
            return self._hold_until_s - self._clock()
        if address not in self._beaten_s:
            return 0.0
        owner = self._owner(name) or self._owners.setdefault(name, address)
        return None if owner == address else owner

    def owner(self, name: str) -> str | float | None:
        """Return a name's owner; None: nobody has it; a number: as of `claim`."""
        self._look_around()
        if self._clock() < self._hold_until_s:
            return self._hold_until_s - self._clock()
        return self._owner(name)

    def leave(self, address: str) -> None:
        """Drop a Gateway and all of its names."""
        self._beaten_s.pop(address, None)
        self._drop_names_of(address)

    @property
    def is_empty(self) -> bool:
        """Whether no Gateway is there."""
        return not self._beaten_s

    def _owner(self, name: str) -> str | None:
        if name.startswith(OF_ANY_KEY):
            ends = name.removeprefix(ANY_KEY)
            of_any = (owner for known, owner in self._owners.items() if known.endswith(ends))
            return next(of_any, None) or self._tagged.get(name[-TAG_CHARS:])
        return self._owners.get(name) or self._tagged.get(name[-TAG_CHARS:])

    def _forget(self, address: str, names: Sequence[str]) -> None:
        for name in names:
            if self._owners.get(name) == address:
                del self._owners[name]

    def _look_around(self) -> None:
        now = self._clock()
        # Where nobody at all was heard, it was this process that stood still, not they.
        silence_s = now - self._last_call_s
        if silence_s > 2 * BEAT_PERIOD_S:
            self._beaten_s = {a: beaten_s + silence_s for a, beaten_s in self._beaten_s.items()}
        self._last_call_s = now
        for address, beaten_s in list(self._beaten_s.items()):
            if now - beaten_s >= GONE_AFTER_S:
                del self._beaten_s[address]
                self._drop_names_of(address)

    def _drop_names_of(self, address: str) -> None:
        self._owners = {name: owner for name, owner in self._owners.items() if owner != address}
        self._tagged = {tag: owner for tag, owner in self._tagged.items() if owner != address}
