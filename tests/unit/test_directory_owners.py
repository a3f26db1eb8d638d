"""Which Gateway owns a name, by a clock of the test's own."""

import pytest

from leyden_server.controller.owners import GONE_AFTER_S, HOLD_S, Owners

A, B = "10.0.0.1:1", "10.0.0.2:1"
TAGS = {A: "aaaaaaaaaaaa", B: "bbbbbbbbbbbb"}
DRAWN_BY_A = f"01234567-89ab-4def-8123-{TAGS[A]}"


class Clock:
    """Seconds that pass where a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, duration_s: float, owners: Owners, *beating: str) -> None:
        """Let time pass, in which some Gateways beat every second."""
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 1.0)
            for address in beating:
                owners.beat(address)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def owners(clock: Clock) -> Owners:
    """Two Gateways, and a name of the first."""
    owners = Owners(0.0, clock)
    owners.register(A, TAGS[A], [], is_new=True)
    owners.register(B, TAGS[B], [], is_new=True)
    assert owners.claim(A, "x") is None
    return owners


def test_a_name_has_one_owner_until_that_forgets_it(owners: Owners) -> None:
    assert owners.claim(A, "x") is None
    assert owners.claim(B, "x") == A == owners.owner("x")
    owners.beat(B, ["x"])
    assert owners.owner("x") == A
    owners.beat(A, ["x", "y"])
    assert owners.owner("x") is None
    assert owners.claim(B, "x") is None
    assert owners.claim(B, "x", ["x"]) is None, "what is given back and taken again is taken"
    assert owners.owner("x") == B


def test_a_name_that_a_gateway_drew_is_known_by_its_tag(owners: Owners, clock: Clock) -> None:
    assert owners.owner(DRAWN_BY_A) == A == owners.claim(B, DRAWN_BY_A)
    assert owners.claim(A, DRAWN_BY_A) is None
    owners.register(A, "another-tag", [], is_new=True)
    assert owners.owner(DRAWN_BY_A) is None, "it was another Gateway's at that address"
    owners.register(A, TAGS[A], [], is_new=True)
    clock.pass_s(GONE_AFTER_S, owners, B)
    assert owners.owner(DRAWN_BY_A) is None


def test_a_silent_gateway_is_gone_with_its_names(owners: Owners, clock: Clock) -> None:
    clock.pass_s(GONE_AFTER_S - 1, owners, B)
    assert owners.claim(B, "x") == A
    clock.pass_s(1, owners, B)
    assert owners.owner("x") is None
    assert owners.claim(B, "x") is None
    # It was only late: it learns so, and keeps what nobody took.
    assert not owners.beat(A)
    owners.register(A, TAGS[A], ["x", "y"], is_new=False)
    assert (owners.owner("x"), owners.owner("y")) == (B, A)


def test_who_is_not_registered_is_given_nothing(owners: Owners, clock: Clock) -> None:
    clock.pass_s(GONE_AFTER_S, owners, B)
    assert owners.claim(A, "y") == 0.0
    assert owners.owner("y") is None
    owners.register(A, TAGS[A], [], is_new=False)
    assert owners.claim(A, "y") is None


def test_a_new_gateway_at_an_old_address_has_none_of_its_names(owners: Owners) -> None:
    owners.register(A, TAGS[A], ["z"], is_new=True)
    assert (owners.owner("x"), owners.owner("z")) == (None, A)


def test_registering_again_takes_nothing_away(owners: Owners) -> None:
    """A claim that was given after the names were listed is not among them."""
    owners.register(A, TAGS[A], ["w"], is_new=False)
    assert (owners.owner("x"), owners.owner("w")) == (A, A)


def test_a_directory_that_stood_still_drops_nobody(owners: Owners, clock: Clock) -> None:
    """Where it heard nobody, it was not they who were silent."""
    clock.now_s += 100.0
    assert owners.claim(B, "x") == A
    clock.pass_s(GONE_AFTER_S, owners, B)
    assert owners.claim(B, "x") is None


def test_a_restarted_directory_waits_for_the_names(clock: Clock) -> None:
    owners = Owners(HOLD_S, clock)
    assert owners.claim(B, "x") == pytest.approx(HOLD_S)
    assert not owners.beat(A)
    owners.register(B, TAGS[B], [], is_new=False)
    owners.register(A, TAGS[A], ["x"], is_new=False)
    clock.now_s += 1.0
    assert owners.owner("x") == pytest.approx(HOLD_S - 1.0)
    clock.now_s += HOLD_S - 1.0
    assert owners.claim(B, "x") == A


def test_a_gateway_that_leaves_takes_its_names_along(owners: Owners) -> None:
    owners.leave(A)
    assert owners.claim(B, "x") is None
    assert not owners.is_empty
    owners.leave(B)
    assert owners.is_empty
