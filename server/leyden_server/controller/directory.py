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
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayActorError

from leyden_server.controller import json_lines
from leyden_server.controller.owners import BEAT_PERIOD_S, HOLD_S, TAG_CHARS, Owners
from leyden_server.errors import UnavailableError

__all__ = ["NAMESPACE", "RayDirectory"]

NAMESPACE = "leyden"

SHORTEST_WAIT_S = 0.01
"""For a registration to arrive, which goes another way than the claim that needs it."""

PATIENCE_S = 10.0
"""How long a request waits for the actor, which takes some 2 s to be restarted."""


class _DirectoryActor(Owners):
    """`Owners` as a Ray actor: it knows by itself whether it was restarted.

    What a request waits for is called by JSON lines, the rest by Ray; all of it runs in the
    actor's event loop, which its one coroutine gives it.
    """

    def __init__(self, replaces_another: bool) -> None:
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        super().__init__(HOLD_S if restarted or replaces_another else 0.0)
        self._server: asyncio.Server | None = None
        self._secret = secrets.token_hex()

    async def listen(self) -> tuple[str, int, str]:
        """Return where `claim` and `owner` are called by JSON lines, and the secret for it."""
        if self._server is None:
            host = ray.util.get_node_ip_address()
            self._server = await json_lines.serve(host, self._secret, self._answer)
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port, self._secret

    def _answer(self, method: str, arguments: list[Any]) -> str | float | None:
        return self.claim(*arguments) if method == "claim" else self.owner(*arguments)

    def leave(self, address: str) -> None:
        """Drop a Gateway and all of its names; with the last one the actor ends for good."""
        super().leave(address)
        if self.is_empty:
            ray.actor.exit_actor()


class RayDirectory:
    """The directory as one Gateway sees it; a `Directory` of `generations`.

    A claim is one call of the actor and nothing more: a JSON line each way. While the actor is
    restarted claims and questions wait for it.
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
        self._caller: json_lines.Caller | None = None
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
        return await self._ask("claim", self._address, request_id, forgotten)

    async def owner(self, request_id: str) -> str | None:
        """Return the peer address of the other Gateway that owns a name; None: none does.

        Raises:
            UnavailableError: the directory does not answer.

        """
        owner = await self._ask("owner", request_id)
        return None if owner == self._address else owner

    def forget(self, request_id: str) -> None:
        """Give a name back, with the next call; returns at once."""
        self._forgotten.append(request_id)

    async def close(self) -> None:
        """Leave the directory with all that is ours."""
        self._beats.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beats
        if self._caller is not None:
            self._caller.close()
        with contextlib.suppress(RayActorError, TimeoutError):
            await asyncio.wait_for(self._actor.leave.remote(self._address), BEAT_PERIOD_S)

    async def _ask(self, method: str, *arguments: object) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        answer: str | float | None = await self._call(method, *arguments)
                    except RayActorError as error:
                        await self._replace(error)
                        continue
                    except OSError:
                        self._caller = None  # where it has gone to, Ray knows
                        await asyncio.sleep(SHORTEST_WAIT_S)
                        continue
                    if not isinstance(answer, float):
                        return answer
                    self._register()
                    await asyncio.sleep(max(answer, SHORTEST_WAIT_S))
        except TimeoutError as error:
            raise UnavailableError(
                "DIRECTORY_UNAVAILABLE",
                "which Gateway has which generation is not known now",
                HOLD_S,
            ) from error

    async def _call(self, method: str, *arguments: object) -> Any:
        if self._caller is None:
            caller = await json_lines.Caller.connect(*await self._actor.listen.remote())
            if self._caller is not None:  # another request was as quick
                caller.close()
            else:
                self._caller = caller
        return await self._caller.call(method, *arguments)

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
