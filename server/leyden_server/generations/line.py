"""One model's line at one Gateway: who is admitted, in which place, and who is handed on.

Everything here goes by one order, `service_order.ServiceOrder.key`: what a request's place is,
how long its wait is expected to be, whether its deadline can be met, and whose image the
denoiser gets next. The engine steps its images by the same key, so the four agree.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from leyden_server.errors import OverloadedError
from leyden_server.generations.in_order import InOrder
from leyden_server.generations.pace import Stranger, smoothed, starts_s, work_of
from leyden_server.generations.place import Place, PlacedImage
from leyden_server.service_order import ServiceKey, ServiceOrder
from leyden_server.stages.contract import EngineLoad

__all__ = ["OVERCOMMIT", "Line", "LineLimits", "Place"]

UNKNOWN_WAIT_S = 1.0
"""When to come back, where no generation has shown its pace yet."""

SHORTEST_WAIT_S = 0.1

LOAD_LIFE_S = 30.0
"""What a replica has said that it holds is old after so many seconds: it rests, or has died."""

OVERCOMMIT = 2
"""So many times its share a Gateway hands a stage where the newest come first in the order."""


@dataclass(frozen=True, slots=True)
class LineLimits:
    """How much may wait, be open, and be handed to the denoiser."""

    max_waiting_images: int
    max_open_images: int


class Line:
    """Places in the order of service. Not thread-safe: for one event loop."""

    def __init__(
        self,
        limits: LineLimits,
        *,
        share: Callable[[], int] = lambda: 2**31,
        replicas: Callable[[], int] = lambda: 1,
        expected_start_s: Callable[[], float | None] = lambda: 0.0,
        alone: bool = True,
    ) -> None:
        """Make an empty line.

        Args:
            limits: how much may wait and be open.
            share: images that the denoiser is to hold of this Gateway.
            replicas: of the denoiser, that run.
            expected_start_s: in how many seconds the stages run; None where not known.
            alone: whether no other Gateway hands images to the same denoiser.

        """
        self.row_cap = 1
        """UNet rows that one replica computes side by side; set once the model is loaded."""
        self._limits = limits
        self._share = share
        self._replicas = replicas
        self._expected_start_s = expected_start_s
        self._alone = alone
        self.waiting_images = 0
        """Admitted images that no denoise step has begun for."""
        self.open_images = 0
        """Images of admitted requests, wherever they are."""
        self._places = InOrder()
        self._turns: dict[PlacedImage, None] = {}
        """What waits to be handed on, in the order in which it came."""
        self._in_hand: set[PlacedImage] = set()
        """What was handed on and has not taken its last step."""
        self._curious: set[Place] = set()
        """Whose clients are told of a position."""
        self._loads: dict[str, tuple[float, EngineLoad]] = {}
        """By the replica: when it was told, and what."""
        self._mean_step_s: float | None = None
        self._mean_open_s: float | None = None
        self._is_settling = False

    def admit(
        self,
        order: ServiceOrder,
        *,
        images: int,
        rows_per_image: int,
        steps: int,
        timeout_s: float | None = None,
    ) -> Place:
        """Take a place.

        Args:
            order: where the request stands among others.
            images: of the request.
            rows_per_image: of the UNet in each denoise step; guidance makes it two.
            steps: of each image.
            timeout_s: in which the first step must have begun; None: any time will do.

        Raises:
            OverloadedError: there is no room, or the first step would begin too late.

        """
        place = Place(self, order, images, rows_per_image, steps)
        self._check_room(place)
        place.told = _, wait_s = self.place_of(place)
        if timeout_s is not None and wait_s is not None and wait_s > timeout_s:
            raise _overloaded(
                "DEADLINE_CANNOT_BE_MET",
                f"the expected wait of {wait_s:.1f} s is longer than the deadline allows",
                "timeout_s",
                round(timeout_s, 3),
                retry_after_s=wait_s,
            )
        self._places.add(place, time.monotonic())
        self.waiting_images += images
        self.open_images += images
        self._curious.add(place)
        self.moved()
        return place

    def place_of(self, place: Place) -> tuple[int, float | None]:
        """Return the waiting images before a place in the order, and its expected wait."""
        now = time.monotonic()
        before = self._unfinished_before(place, now)
        position = sum(not image.started for image in before)
        others_waiting, others = self._of_other_gateways(place.order.key(now))
        wait_s = self._wait_s([*others, *before], place.rows_per_image)
        return position + others_waiting, wait_s

    async def turn(self, image: PlacedImage) -> None:
        """Wait until an image is to be handed on; it counts as handed from then on."""
        image.turn = asyncio.get_running_loop().create_future()
        self._turns[image] = None
        self._hand_on()
        try:
            await image.turn
        finally:
            self._turns.pop(image, None)
            image.turn = None

    def started(self, image: PlacedImage) -> None:
        """Note that an image's first denoise step begins."""
        if image.place.is_open and not image.started:
            image.started = True
            image.place.waiting -= 1
            self.waiting_images -= 1
            self._curious.discard(image.place)
        self.moved()

    def restarted(self, image: PlacedImage) -> None:
        """Note that an image goes back to waiting."""
        self._in_hand.discard(image)
        if image.place.is_open and image.started:
            image.started = False
            image.place.waiting += 1
            self.waiting_images += 1
            if image.place.wants_to_know:
                self._curious.add(image.place)
        self.moved()

    def finished(self, image: PlacedImage) -> None:
        """Note that an image's last denoise step ended."""
        image.done, image.steps_left = True, 0
        self._in_hand.discard(image)
        self.moved()

    def note_load(self, replica: str, load: EngineLoad) -> None:
        """Note what a replica of the denoiser has said that it holds, other Gateways' too."""
        self._loads[replica] = (time.monotonic(), load)

    def learn_step(self, duration_s: float) -> None:
        """Note how long a denoise step took."""
        self._mean_step_s = smoothed(self._mean_step_s, duration_s)

    def remove(self, place: Place, open_s: float) -> None:
        """Forget a place, which was open for so many seconds. Harmless where that is done."""
        if not place.is_open:
            return
        place.is_open = False
        self._places.remove(place)
        self.waiting_images -= place.waiting
        self.open_images -= len(place.images)
        self._curious.discard(place)
        self._in_hand.difference_update(place.images)
        self._mean_open_s = smoothed(self._mean_open_s, open_s)
        self.moved()

    def moved(self) -> None:
        """Hand on what may be, and tell those who wait, once this turn of the loop is over."""
        if not self._is_settling and (self._turns or self._curious):
            self._is_settling = True
            try:
                asyncio.get_running_loop().call_soon(self.settle)
            except RuntimeError:  # no loop runs, as where a test holds the line itself
                self.settle()

    def places(self) -> Sequence[Place]:
        """Return all that are admitted and have not left, in the order of now."""
        return self._places.at(time.monotonic())

    def settle(self) -> None:
        """Hand on what may be, and tell those whose position has changed."""
        self._is_settling = False
        self._hand_on()
        if not self._curious:
            return
        now = time.monotonic()
        in_order = self._places.at(now)
        moved: list[tuple[Place, int]] = []
        ahead = 0
        for place in in_order:
            if place in self._curious:
                others_waiting, _ = self._of_other_gateways(place.order.key(now))
                if place.told[0] != ahead + others_waiting:
                    moved.append((place, ahead + others_waiting))
            ahead += place.waiting
        if moved:
            waits_s = self._waits_s(in_order, now)
            for place, position in moved:
                place.told = position, waits_s[place]
                place.on_move(*place.told)

    def _hand_on(self) -> None:
        waiting = [image for image in self._turns if image.turn and not image.turn.done()]
        if not waiting:
            return
        share = max(1, self._share())
        if len(self._in_hand) + len(waiting) <= share:
            for image in waiting:
                self._hand(image)
            return
        now = time.monotonic()
        handed = [image.place.order.key(now) for image in self._in_hand]
        for image in sorted(waiting, key=lambda image: image.place.order.key(now)):
            own = image.place.order.key(now)
            before = sum(key <= own for key in handed)
            # More urgent than what was handed on: it goes beside, or it would wait for a whole
            # image to end although the engine would step it next.
            if before >= share or len(handed) >= OVERCOMMIT * share:
                return
            self._hand(image)
            handed.append(own)

    def _hand(self, image: PlacedImage) -> None:
        del self._turns[image]
        self._in_hand.add(image)
        assert image.turn is not None
        image.turn.set_result(None)

    def _unfinished_before(self, place: Place, now: float) -> list[PlacedImage]:
        """Return what is not denoised yet and comes before a place, in order."""
        before = self._places.before(place, now)
        return [image for one in before for image in one.images if not image.done]

    def _waits_s(self, in_order: Sequence[Place], now: float) -> dict[Place, float | None]:
        """Return the expected wait of every place at once."""
        start_s = self._expected_start_s()
        images = [image for place in in_order for image in place.images if not image.done]
        steps_of: dict[Place, int] = {}
        by_strangers: dict[int, list[int]] = {}
        for place in in_order:
            priority, *_ = key = place.order.key(now)
            if priority not in by_strangers:
                _, others = self._of_other_gateways(key)
                work = [*(work_of(one) for one in others), *(work_of(one) for one in images)]
                by_strangers[priority] = starts_s(work, self._capacity)[len(others) :]
        first = 0
        for place in in_order:
            starts = by_strangers[place.order.key(now)[0]]
            left = sum(not image.done for image in place.images)
            steps_of[place] = starts[first] if left else 0
            first += left
        return {place: self._seconds(steps, start_s) for place, steps in steps_of.items()}

    def _of_other_gateways(self, own: ServiceKey) -> tuple[int, list["Stranger"]]:
        """Return how many images of other Gateways wait before a key, and their work.

        Of what the engines hold only sums by priority are known: those of the same priority
        count as earlier.
        """
        if self._alone:
            return 0, []
        now = time.monotonic()
        ours = [(image, image.place.order.key(now)[0]) for image in self._in_hand]
        priority = own[0]
        waiting = rows = row_steps = 0
        for told_s, load in self._loads.values():
            if now - told_s > LOAD_LIFE_S:
                continue
            waiting += sum(load.waiting_images[:priority])
            rows += sum(load.rows[:priority])
            row_steps += sum(load.row_steps[:priority])
        for image, of_image in ours:
            if of_image <= priority:
                waiting -= not image.started
                rows -= image.place.rows_per_image
                row_steps -= image.place.rows_per_image * image.steps_left
        if rows <= 0 or row_steps <= 0:
            return max(0, waiting), []
        return max(0, waiting), [Stranger(rows, max(1, round(row_steps / rows)))]

    def _wait_s(self, before: Sequence[PlacedImage | Stranger], rows: int) -> float | None:
        work = [*(work_of(one) for one in before), (rows, 1, False)]
        return self._seconds(starts_s(work, self._capacity)[-1], self._expected_start_s())

    def _seconds(self, steps: int, start_s: float | None) -> float | None:
        """Return how long so many steps take, once the stages have started."""
        if start_s is None or steps == 0:
            return start_s
        return None if self._mean_step_s is None else start_s + steps * self._mean_step_s

    @property
    def _capacity(self) -> int:
        return self.row_cap * max(1, self._replicas())

    def _check_room(self, place: Place) -> None:
        waiting, most = self.waiting_images, self._limits.max_waiting_images
        refuse = partial(_overloaded, "QUEUE_FULL")
        if waiting + len(place.images) > most:
            raise refuse(
                f"{waiting} of at most {most} images wait",
                "max_waiting_images",
                most,
                retry_after_s=self._room_in_line_s(waiting + len(place.images) - most),
            )
        open_images, most = self.open_images, self._limits.max_open_images
        if open_images + len(place.images) > most:
            # The denoiser may well have room: it is the decoder or the readers that are slow.
            # By Little's law one leaves every mean / open seconds.
            a_leaving_s = (self._mean_open_s or UNKNOWN_WAIT_S) / max(1, open_images)
            raise refuse(
                f"{open_images} of at most {most} images are being made or sent",
                "max_open_images",
                most,
                retry_after_s=max(UNKNOWN_WAIT_S, a_leaving_s * len(place.images)),
            )

    def _room_in_line_s(self, places: int) -> float:
        """Return in how many seconds so many of the waiting images will have started."""
        if self._mean_step_s is None:
            return UNKNOWN_WAIT_S
        now = time.monotonic()
        images = [i for place in self._places.at(now) for i in place.images if not i.done]
        starts = [
            start
            for image, start in zip(
                images, starts_s([work_of(i) for i in images], self._capacity), strict=True
            )
            if not image.started
        ]
        start_s = self._expected_start_s() or 0.0
        return start_s + sorted(starts)[min(places, len(starts)) - 1] * self._mean_step_s


def _overloaded(
    reason: str, message: str, limit: str, value: float, *, retry_after_s: float
) -> OverloadedError:
    limits = {limit: str(value)}
    return OverloadedError(reason, message, limits, max(SHORTEST_WAIT_S, retry_after_s))
