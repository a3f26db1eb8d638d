"""Which models are to run, and what each Gateway still needs; nothing here awaits or calls.

A Gateway follows: it takes over each newer `Snapshot`, and says which it has taken over and which
versions of models it still uses. So a version's stages are needed until every Gateway that is
there has a snapshot without it and uses it no more.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from leyden_server.controller.placement import Placement
from leyden_server.generations.server_state import GatewayReport

__all__ = ["FOLLOW_PERIOD_S", "GONE_AFTER_S", "DesiredModels", "Following", "Snapshot"]

FOLLOW_PERIOD_S = 1.0
"""How long a Gateway's call waits for a newer snapshot, at most."""

GONE_AFTER_S = 15.0
"""One that has not called for so long is gone, and needs nothing any more."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What holds from a moment on, for all Gateways."""

    version: int
    served: tuple[Placement, ...]
    """What new requests get."""
    coming: tuple[Placement, ...] = ()
    """What is being loaded."""
    retired: tuple[Placement, ...] = ()
    """What no new request gets, and running ones may still use."""
    going: frozenset[str] = frozenset()
    """Names of models that are being unloaded."""
    failures: tuple[tuple[str, str], ...] = ()
    """Models whose last load failed, and why."""

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Every version whose stages are needed."""
        return (*self.served, *self.coming, *self.retired)

    def placement(self, name: str) -> Placement | None:
        """Return what new requests of a model get."""
        return next((one for one in self.served if one.model.name == name), None)


@dataclass(slots=True)
class Following:
    """What a Gateway has said last."""

    version: int
    """Of the snapshot that it has taken over."""
    using: frozenset[int]
    """Numbers of the placements that it serves or drains."""
    heard_s: float = field(default=0.0)
    report: GatewayReport | None = None
    """What it has said of itself; None: nothing yet."""


class DesiredModels:
    """The newest snapshot, and the Gateways that follow. Another clock is a test's."""

    def __init__(self, snapshot: Snapshot, clock: Callable[[], float] = time.monotonic) -> None:
        self.snapshot = snapshot
        self._clock = clock
        self._followers: dict[str, Following] = {}
        self._retired_at: dict[int, int] = {
            one.number: snapshot.version for one in snapshot.retired
        }
        """By the placement's number: the first snapshot in which it is retired."""
        self._numbers = max((one.number for one in snapshot.placements), default=0)

    def next_number(self) -> int:
        """Return a number for a placement."""
        self._numbers += 1
        return self._numbers

    def hear(
        self,
        gateway: str,
        version: int,
        using: frozenset[int],
        report: GatewayReport | None = None,
    ) -> None:
        """Note what a Gateway says."""
        self._followers[gateway] = Following(version, using, self._clock(), report)

    @property
    def reports(self) -> dict[str, GatewayReport]:
        """What each Gateway that is there has said of itself last."""
        self._there()
        return {
            gateway: one.report
            for gateway, one in self._followers.items()
            if one.report is not None
        }

    def begin(self, placement: Placement) -> None:
        """Have a version loaded."""
        name = placement.model.name
        self._change(
            coming=(*self.snapshot.coming, placement),
            failures=tuple(one for one in self.snapshot.failures if one[0] != name),
        )

    def fail(self, placement: Placement, why: str) -> None:
        """Note that a version could not be loaded; its stages are not needed."""
        self._change(
            coming=_without(self.snapshot.coming, placement),
            failures=(*self.snapshot.failures, (placement.model.name, why)),
        )

    def serve(self, placement: Placement) -> None:
        """Give new requests a version that is loaded; the one before is retired."""
        before = self.snapshot.placement(placement.model.name)
        served = self.snapshot.served
        self._change(
            coming=_without(self.snapshot.coming, placement),
            served=(*(_without(served, before) if before else served), placement),
            retired=(*self.snapshot.retired, *((before,) if before else ())),
        )

    def withdraw(self, name: str) -> None:
        """Give new requests no version of a model any more."""
        before = self.snapshot.placement(name)
        if before is not None:
            self._change(
                served=_without(self.snapshot.served, before),
                retired=(*self.snapshot.retired, before),
                going=self.snapshot.going | {name},
            )

    def note_gone(self, name: str) -> None:
        """Note that all of a model's own stages are gone."""
        if name in self.snapshot.going:
            self._change(going=self.snapshot.going - {name})

    def leave(self, gateway: str) -> None:
        """Forget a Gateway that ends."""
        self._followers.pop(gateway, None)

    def forget_unused(self) -> tuple[Placement, ...]:
        """Forget retired versions that nobody uses any more, and return them."""
        unused = [one for one in self.snapshot.retired if not self._is_used(one)]
        for one in unused:
            self._retired_at.pop(one.number, None)
        if unused:
            self._change(retired=tuple(one for one in self.snapshot.retired if one not in unused))
        return tuple(unused)

    def has_been_taken_over(self, version: int) -> bool:
        """Tell whether every Gateway that is there has this snapshot, or a newer one."""
        return all(one.version >= version for one in self._there())

    def _is_used(self, placement: Placement) -> bool:
        since = self._retired_at[placement.number]
        return any(one.version < since or placement.number in one.using for one in self._there())

    def _there(self) -> Iterable[Following]:
        now = self._clock()
        for gateway, one in list(self._followers.items()):
            if now - one.heard_s >= GONE_AFTER_S:
                del self._followers[gateway]
        return self._followers.values()

    def _change(self, **changes: object) -> None:
        version = self.snapshot.version + 1
        self.snapshot = replace(self.snapshot, version=version, **changes)  # type: ignore[arg-type]
        for one in self.snapshot.retired:
            self._retired_at.setdefault(one.number, version)


def _without(placements: tuple[Placement, ...], which: Placement) -> tuple[Placement, ...]:
    return tuple(one for one in placements if one.number != which.number)
