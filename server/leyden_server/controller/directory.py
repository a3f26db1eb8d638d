"""Which of several Gateways has a generation: one Ray actor that they all ask.

A Gateway's names live as long as it beats: it says every second that it is there, and one that
has been silent for 4 s is gone, with all of its names. The actor writes nothing down. Where it
was restarted it knows no Gateway any more, says so to each that beats, and is told all of its
names; until every Gateway had time for that, nobody is given a name or an answer.

A name that a Gateway draws itself ends in its tag, so it is known for that Gateway's without a
call. A name that is given back travels with the next call, or the next beat.
"""

import asyncio
import contextlib
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayActorError

from leyden_server.errors import UnavailableError

__all__ = ["NAMESPACE", "RayDirectory"]

NAMESPACE = "leyden"

BEAT_PERIOD_S = 1.0
GONE_AFTER_S = 4.0
HOLD_S = GONE_AFTER_S
"""How long a restarted actor waits for the Gateways' names: whoever is not heard then is gone."""

TAG_CHARS = 12
"""The last group of a UUID, which a Gateway draws once in place of each time."""

PATIENCE_S = 10.0
"""How long a request waits for the actor, which takes some 2 s to be restarted."""


class _Owners:
    """What the actor knows. One call at a time, in each Gateway's order.

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


class _DirectoryActor(_Owners):
    """`_Owners` as a Ray actor: it knows by itself whether it was restarted."""

    def __init__(self, replaces_another: bool) -> None:
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(HOLD_S if restarted or replaces_another else 0.0)

    def leave(self, address: str) -> None:
        """Drop a Gateway and all of its names; with the last one the actor ends for good."""
        super().leave(address)
        if self.is_empty:
            ray.actor.exit_actor()


class RayDirectory:
    """The directory as one Gateway sees it; a `Directory` of `generations`.

    A claim is one call of the actor and nothing more. While the actor is restarted claims and
    questions wait for it.
    """

    def __init__(self, actor_name: str, address: str, names: Callable[[], Iterable[str]]) -> None:
        """Join with no name yet; needs a running event loop and Ray.

        `address` is where the other Gateways reach this one. `names` lists what it owns: another
        directory, where this one has died, is told.
        """
        self._actor_name = actor_name
        self._address = address
        self._names = names
        self._tag = secrets.token_hex(TAG_CHARS // 2)
        self._forgotten: list[str] = []
        """Names to give back with the next call."""
        self._connect(replaces_another=False)
        self._register(is_new=True)
        self._beats = asyncio.create_task(self._beat())

    async def ready(self) -> None:
        """Return once the actor runs, which on a busy machine takes many seconds to start."""
        while True:
            try:
                if not await self._actor.beat.remote(self._address, self._take_forgotten()):
                    self._register()
            except RayActorError as error:
                await self._replace(error)
            else:
                return

    def draw_name(self) -> str:
        """Return a UUID that ends in our tag."""
        return f"{str(uuid.uuid4())[:-TAG_CHARS]}{self._tag}"

    async def claim(self, request_id: str) -> str | None:
        """Take a name; return None where it is ours now, else the owner's peer address.

        Raises:
            UnavailableError: the directory does not answer.

        """
        forgotten = self._take_forgotten()
        return await self._ask(
            lambda: self._actor.claim.remote(self._address, request_id, forgotten)
        )

    async def owner(self, request_id: str) -> str | None:
        """Return the peer address of the other Gateway that owns a name; None: none does.

        Raises:
            UnavailableError: the directory does not answer.

        """
        owner = await self._ask(lambda: self._actor.owner.remote(request_id))
        return None if owner == self._address else owner

    def forget(self, request_id: str) -> None:
        """Give a name back, with the next call; returns at once."""
        self._forgotten.append(request_id)

    async def close(self) -> None:
        """Leave the directory with all that is ours."""
        self._beats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beats
        with contextlib.suppress(RayActorError, TimeoutError):
            await asyncio.wait_for(self._actor.leave.remote(self._address), BEAT_PERIOD_S)

    async def _ask(self, call: Callable[[], Awaitable[Any]]) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        answer: str | float | None = await call()
                    except RayActorError as error:
                        await self._replace(error)
                        continue
                    if not isinstance(answer, float):
                        return answer
                    self._register()
                    await asyncio.sleep(answer)
        except TimeoutError as error:
            raise UnavailableError(
                "DIRECTORY_UNAVAILABLE",
                "which Gateway has which generation is not known now",
                HOLD_S,
            ) from error

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_PERIOD_S)
            await self.ready()

    def _register(self, *, is_new: bool = False) -> None:
        # A new one owns nothing, and cannot be asked yet. A claim that is given while this is on
        # its way is none of `names`, and stays.
        names = [] if is_new else list(self._names())
        register = self._actor.register.options(num_returns=0)
        register.remote(self._address, self._tag, names, is_new)

    def _take_forgotten(self) -> list[str]:
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    async def _replace(self, error: RayActorError) -> None:
        """Have another actor where ours has ended for good; else wait a moment for its restart."""
        if isinstance(error, ActorDiedError):
            self._connect(replaces_another=True)
            self._register()
        await asyncio.sleep(BEAT_PERIOD_S / 10)

    def _connect(self, *, replaces_another: bool) -> None:
        # Detached: it must outlive the Gateway that happened to come first.
        self._actor: ActorHandle = (
            ray.remote(_DirectoryActor)
            .options(
                name=self._actor_name,
                namespace=NAMESPACE,
                get_if_exists=True,
                lifetime="detached",
                num_cpus=0,
                max_restarts=-1,  # its calls are not retried by Ray, which would reorder them
            )
            .remote(replaces_another)
        )
