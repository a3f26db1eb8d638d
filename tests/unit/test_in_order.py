"""What is kept sorted is what a sort would give, at any time."""

import random

from leyden_server.generations.in_order import InOrder
from leyden_server.generations.line import Line, LineLimits
from leyden_server.generations.place import Place
from leyden_server.service_order import PATIENCE_S, PRIORITIES, ServiceOrder


def place(priority: int, arrival_s: float, deadline_s: float | None = None) -> Place:
    line = Line(LineLimits(1, 1))
    return Place(line, ServiceOrder(priority, arrival_s, deadline_s), 1, 1, 4)


def test_it_is_sorted_at_any_time_whatever_comes_and_leaves() -> None:
    chance = random.Random(3)
    in_order, now = InOrder(), 1000.0
    held: list[Place] = []
    for _ in range(2000):
        now += chance.choice([0.0, 0.1, PATIENCE_S / 3, 2.5 * PATIENCE_S])
        deadline_s = now + chance.uniform(0, 90) if chance.random() < 0.5 else None
        one = place(chance.choice(PRIORITIES), now - chance.uniform(0, 100), deadline_s)
        if held and chance.random() < 0.45:
            gone = held.pop(chance.randrange(len(held)))
            in_order.remove(gone)
        else:
            assert in_order.before(one, now) == [
                other
                for other in sorted(held, key=lambda other: other.order.key(now))
                if other.order.key(now) <= one.order.key(now)
            ]
            in_order.add(one, now)
            held.append(one)
        assert list(in_order.at(now)) == sorted(held, key=lambda other: other.order.key(now))
        assert len(in_order) == len(held)
    for other in held:
        index = list(in_order).index(other)
        assert in_order.before(other, now) == list(in_order)[:index]


def test_of_equal_ones_the_first_to_come_stays_first() -> None:
    in_order = InOrder()
    equal = [place(5, 1000.0) for _ in range(3)]
    for one in equal:
        in_order.add(one, 1000.0)
    assert list(in_order.at(1000.0 + 3 * PATIENCE_S)) == equal
    assert in_order.before(equal[2], 1000.0 + 3 * PATIENCE_S) == equal[:2]
