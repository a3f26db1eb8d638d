"""Which of several Gateways has a generation: one Ray actor that they all ask.

A Gateway's names live as long as it beats: it says every second that it is there, and one that
has been silent for 4 s is gone, with all of its names. The actor writes nothing down. Where it has
died, whoever misses it first has another one, which knows no Gateway, says so to each that beats,
and is told all of its names; until every Gateway had time for that, nobody is given a name or an
answer.

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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from leyden_server.controller import json_lines
from leyden_server.controller.owners import BEAT_PERIOD_S, HOLD_S, TAG_CHARS, Owners
from leyden_server.errors import UnavailableError

__all__ = ["NAMESPACE", "RayDirectory"]

NAMESPACE = "leyden"

SHORTEST_WAIT_S = 0.01
"""Before a connection that has broken is made anew."""

PATIENCE_S = 60.0
"""How long a request waits for the actor. Another one is there some 2 s after its process has died,
and 20 or more after its node has, which Ray notices late."""

ANSWER_TIMEOUT_S = 5.0
"""After which a call is made anew, wherever the actor is by then: a connection to a node that was
cut off says nothing for many minutes."""


class _DirectoryActor(Owners):
    """`Owners` as a Ray actor.

    It cannot know whether there was another one before it, so it always waits for Gateways first.
    Ray says where it is; all else is called by JSON lines, which a request waits for a short time
    and which go on where Ray's head is gone for a while. All of it runs in the actor's event loop,
    which its one coroutine gives it.
    """

    def __init__(self) -> None:
        super().__init__(HOLD_S)
        self._server: asyncio.Server | None = None
        self._secret = secrets.token_hex()

    async def listen(self) -> tuple[str, int, str]:
        """Return where it is called by JSON lines, and the secret for it."""
        if self._server is None:
            host = ray.util.get_node_ip_address()
            self._server = await json_lines.serve(host, self._secret, self._answer)
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port, self._secret

    def _answer(self, method: str, arguments: list[Any]) -> str | float | None:
        methods: dict[str, Callable[..., str | float | None]] = {
            "claim": self.claim,
            "owner": self.owner,
            "beat": self.beat,
            "register": self.register,
        }
        return methods[method](*arguments)

    def leave(self, address: str) -> None:
        """Drop a Gateway and all of its names; with the last one the actor ends for good."""
        super().leave(address)
        if self.is_empty:
            ray.actor.exit_actor()


class RayDirectory:
    """The directory as one Gateway sees it; a `Directory` of `generations`.

    A claim is one call of the actor and nothing more: a JSON line each way. While there is no
    actor, claims and questions wait for one.
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
        self._is_new = True
        """Whether no directory was told of this Gateway as yet."""
        self._connect()
        self._beats = asyncio.create_task(self._beat())

    async def ready(self) -> None:
        """Return once the actor runs, which on a busy machine takes many seconds to start."""
        while True:
            try:
                if not await self._call("beat", self._address, self._take_forgotten()):
                    await self._register()
            except RayActorError as error:
                await self._replace(error)
            except OSError:  # a TimeoutError too
                await asyncio.sleep(SHORTEST_WAIT_S)
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
        await asyncio.wait([self._beats])
        if self._caller is not None:
            self._caller.close()
        with contextlib.suppress(RayActorError, TimeoutError):
            async with asyncio.timeout(BEAT_PERIOD_S):
                await self._actor.leave.remote(self._address)

    async def _ask(self, method: str, *arguments: object) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        answer: str | float | None = await self._call(method, *arguments)
                        if not isinstance(answer, float):
                            return answer
                        await self._register()
                    except RayActorError as error:
                        await self._replace(error)
                    except OSError:  # a TimeoutError too; where it has gone to, Ray knows
                        await asyncio.sleep(SHORTEST_WAIT_S)
                    else:
                        await asyncio.sleep(answer)
        except TimeoutError as error:
            raise UnavailableError(
                "DIRECTORY_UNAVAILABLE",
                "which Gateway has which generation is not known now",
                HOLD_S,
            ) from error

    async def _call(self, method: str, *arguments: object) -> Any:
        caller = self._caller
        if caller is None:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                caller = await self._reach()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await caller.call(method, *arguments)
        except OSError:
            caller.close()
            if self._caller is caller:
                self._caller = None
            raise

    async def _reach(self) -> json_lines.Caller:
        caller = await json_lines.Caller.connect(*await self._actor.listen.remote())
        if self._caller is not None:  # another request was as quick
            caller.close()
            return self._caller
        self._caller = caller
        return caller

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_PERIOD_S)
            await self.ready()

    async def _register(self) -> None:
        # A new one owns nothing. A claim that is given while this is on its way is none of
        # `names`, and stays.
        is_new, self._is_new = self._is_new, False
        names = [] if is_new else list(self._names())
        await self._call("register", self._address, self._tag, names, is_new)

    def _take_forgotten(self) -> list[str]:
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    async def _replace(self, error: RayActorError) -> None:
        """Have another actor where ours has ended; else wait a moment for its node to be heard."""
        if isinstance(error, ActorDiedError):
            # It asks Ray's head, which may not answer for a while.
            await asyncio.to_thread(self._connect)
        await asyncio.sleep(BEAT_PERIOD_S / 10)

    def _connect(self) -> None:
        # Beside this Gateway: a Ray's head, or a stage's node, may be gone while Gateways serve,
        # and they would all wait for the directory. So Ray does not restart it either, which would
        # be anywhere: whoever misses it first has another one.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        # Detached: it must outlive the Gateway that happened to come first.
        self._actor: ActorHandle = (
            ray.remote(_DirectoryActor)
            .options(
                name=self._actor_name,
                namespace=NAMESPACE,
                get_if_exists=True,
                lifetime="detached",
                num_cpus=0,
                scheduling_strategy=here,
                max_restarts=0,
            )
            .remote()
        )
