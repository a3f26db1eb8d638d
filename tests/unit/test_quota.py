"""What a key may have: images a minute, and at once; divided among the Gateways."""

import pytest

from leyden_server.errors import QuotaExceededError
from leyden_server.generations.account import Account
from leyden_server.generations.quota import Quotas, Share


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limited(per_minute: float | None = None, at_once: int | None = None, key: str = "k") -> Account:
    return Account("app", key, images_per_minute=per_minute, images_at_once=at_once)


def refused(quotas: Quotas, account: Account, images: int = 1) -> QuotaExceededError:
    with pytest.raises(QuotaExceededError) as caught:
        quotas.take(account, images)
    return caught.value


def test_a_minutes_images_and_then_one_at_a_time(clock: Clock) -> None:
    quotas, account = Quotas(1, clock), limited(per_minute=60)
    for _ in range(60):
        quotas.take(account, 1).done()
    error = refused(quotas, account)
    assert error.reason == "RATE_LIMITED"
    assert error.retry_after_s == pytest.approx(1.0)
    clock.now_s += error.retry_after_s or 0
    quotas.take(account, 1)
    clock.now_s += 0.5
    assert refused(quotas, account).retry_after_s == pytest.approx(0.5)
    clock.now_s += 10_000
    for _ in range(60):
        quotas.take(account, 1)
    refused(quotas, account)


def test_a_request_larger_than_a_minutes_images_is_paid_off(clock: Clock) -> None:
    quotas, account = Quotas(1, clock), limited(per_minute=2)
    quotas.take(account, 8)
    error = refused(quotas, account)
    assert error.retry_after_s == pytest.approx(7 * 30)
    clock.now_s += 7 * 30
    quotas.take(account, 1)


def test_what_was_not_accepted_is_given_back(clock: Clock) -> None:
    quotas, account = Quotas(1, clock), limited(per_minute=1, at_once=1)
    share = quotas.take(account, 1)
    share.refund()
    share.refund()
    share.done()
    quotas.take(account, 1)
    refused(quotas, account)


def test_images_at_once_end_with_their_request() -> None:
    quotas, account = Quotas(1), limited(at_once=3)
    two, one = quotas.take(account, 2), quotas.take(account, 1)
    error = refused(quotas, account)
    assert error.reason == "TOO_MANY_AT_ONCE"
    assert error.retry_after_s
    two.done()
    two.done()
    quotas.take(account, 2)
    refused(quotas, account)
    one.done()
    quotas.take(account, 1)


def test_more_in_one_request_than_at_once_never_works() -> None:
    error = refused(Quotas(1), limited(at_once=3), images=4)
    assert (error.reason, error.retry_after_s) == ("TOO_MANY_IN_ONE", None)


@pytest.mark.parametrize(("gateways", "each"), [(1, 7), (2, 3), (7, 1), (8, 1)])
def test_gateways_share_what_may_be_at_once(gateways: int, each: int) -> None:
    quotas, account = Quotas(gateways), limited(at_once=7)
    for _ in range(each):
        quotas.take(account, 1)
    refused(quotas, account)


def test_gateways_share_the_rate(clock: Clock) -> None:
    quotas, account = Quotas(4, clock), limited(per_minute=8)
    for _ in range(2):
        quotas.take(account, 1)
    assert refused(quotas, account).retry_after_s == pytest.approx(30)


def test_a_rate_below_one_an_image_is_kept_to(clock: Clock) -> None:
    quotas, account = Quotas(4, clock), limited(per_minute=1)
    quotas.take(account, 1)
    assert refused(quotas, account).retry_after_s == pytest.approx(240)


def test_keys_do_not_share(clock: Clock) -> None:
    quotas = Quotas(1, clock)
    quotas.take(limited(1, 1, "a"), 1)
    quotas.take(limited(1, 1, "b"), 1)
    refused(quotas, limited(1, 1, "a"))


def test_limits_that_were_changed_hold_at_once(clock: Clock) -> None:
    quotas = Quotas(1, clock)
    quotas.take(limited(per_minute=100), 1)
    quotas.take(limited(per_minute=2), 2)
    refused(quotas, limited(per_minute=2))
    quotas.take(limited(per_minute=None), 50)
    quotas.take(limited(at_once=60), 7)


def test_without_limits_nothing_is_kept() -> None:
    quotas = Quotas(1)
    for _ in range(1000):
        assert isinstance(quotas.take(Account(), 8), Share)
    assert not quotas._used
