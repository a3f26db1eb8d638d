"""Who is served first."""

import pickle
import time

import pytest

from leyden_server.service_order import (
    PATIENCE_S,
    PRIORITIES,
    ServiceOrder,
    TravellingOrder,
)

NOW_S = 1000.0


def in_order(now_s: float, **orders: ServiceOrder) -> list[str]:
    return sorted(orders, key=lambda name: orders[name].key(now_s))


def test_priority_then_what_is_due_then_arrival() -> None:
    assert in_order(
        NOW_S,
        arrived_last=ServiceOrder(5, NOW_S - 1),
        arrived_first=ServiceOrder(5, NOW_S - 2),
        due_soon=ServiceOrder(5, NOW_S, NOW_S + 10),
        due_late=ServiceOrder(5, NOW_S, NOW_S + 3600),
        preferred=ServiceOrder(4, NOW_S, NOW_S + 3600),
    ) == ["preferred", "due_soon", "arrived_first", "arrived_last", "due_late"]


def test_a_far_deadline_is_no_worse_than_none() -> None:
    far, none = ServiceOrder(5, NOW_S, NOW_S + 3600), ServiceOrder(5, NOW_S)
    assert far.key(NOW_S) == none.key(NOW_S)


@pytest.mark.parametrize(
    ("priority", "waited_s", "expected"),
    [
        (5, 0.0, 5),
        (5, PATIENCE_S - 0.1, 5),
        (5, PATIENCE_S, 4),
        (5, 2.5 * PATIENCE_S, 3),
        (9, 8 * PATIENCE_S, 1),
        (1, 5 * PATIENCE_S, 1),
        (5, 100 * PATIENCE_S, 1),
        (5, -1.0, 5),  # as if it came a moment after this process's clock was read
    ],
)
def test_waiting_raises_the_priority(priority: int, waited_s: float, expected: int) -> None:
    order = ServiceOrder(priority, NOW_S - waited_s)
    assert order.priority_at(NOW_S) == order.key(NOW_S)[0] == expected
    assert expected in PRIORITIES


@pytest.mark.parametrize("priority", [0, 10, -1])
def test_a_priority_that_there_is_not_is_refused(priority: int) -> None:
    with pytest.raises(ValueError, match=f"priority: 1 to 9; got {priority}"):
        TravellingOrder(priority).arrived()


def test_an_order_travels_by_ages_and_arrives_by_the_other_clock() -> None:
    now_s = time.monotonic()
    sent = ServiceOrder(3, now_s - 20, now_s + 30)
    travelling: TravellingOrder = pickle.loads(pickle.dumps(sent.travelling()))
    assert travelling.waited_s == pytest.approx(20, abs=1)
    assert travelling.deadline_in_s == pytest.approx(30, abs=1)
    arrived = travelling.arrived()

    assert arrived.priority == 3
    assert arrived.arrival_s == pytest.approx(sent.arrival_s, abs=1)
    assert arrived.deadline_s == pytest.approx(now_s + 30, abs=1)
    assert ServiceOrder(3, now_s).travelling().arrived().deadline_s is None
