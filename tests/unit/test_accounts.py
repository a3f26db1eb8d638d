"""What an account may, and where a caller is who has none."""

import pytest

from leyden_server.errors import PermissionDeniedError
from leyden_server.gateway.access import is_local
from leyden_server.generations.account import Account, anybody


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv4:127.8.9.1:4711", True),
        ("ipv4:10.0.0.7:4711", False),
        ("ipv4:128.0.0.1:127", False),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv6:[::1]:4711", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:4711", True),
        ("ipv6:%5B::ffff:10.0.0.7%5D:4711", False),
        ("ipv6:%5B2001:db8::1%5D:4711", False),
        ("unix:", True),
        ("unix:/run/leyden.sock", True),
        ("vsock:127.0.0.1:1", False),
        ("ipv4:localhost:1", False),
        ("", False),
    ],
)
def test_who_is_on_this_machine(peer: str, local: bool) -> None:
    assert is_local(peer) is local


def test_without_keys_who_calls_from_this_machine_operates() -> None:
    anybody(is_local=True).require_operator("LoadModel")
    with pytest.raises(PermissionDeniedError, match=r"LoadModel needs .*the server's own machine"):
        anybody(is_local=False).require_operator("LoadModel")


def test_with_keys_the_key_says_who_operates() -> None:
    Account("ops", "id1", is_operator=True).require_operator("LoadModel")
    with pytest.raises(PermissionDeniedError, match=r"the API key 'app' has none") as caught:
        Account("app", "id2").require_operator("LoadModel")
    assert caught.value.reason == "OPERATOR_ONLY"


def test_a_key_is_for_the_models_that_it_names() -> None:
    account = Account("app", "id", models=frozenset({"b", "a"}))
    account.require_model("a")
    with pytest.raises(PermissionDeniedError, match="may not use model 'c'; it may use a, b"):
        account.require_model("c")
    Account("app", "id").require_model("c")


@pytest.mark.parametrize(
    ("most", "asked", "given"), [(1, 0, 5), (7, 0, 7), (3, 0, 5), (3, 3, 3), (3, 9, 9), (1, 1, 1)]
)
def test_the_priority_that_a_request_has(most: int, asked: int, given: int) -> None:
    assert Account("app", "id", most_priority=most).priority(asked) == given


def test_more_urgent_than_the_key_allows_is_refused() -> None:
    with pytest.raises(PermissionDeniedError, match="may ask for 4 or a larger number") as caught:
        Account("app", "id", most_priority=4).priority(3)
    assert caught.value.reason == "PRIORITY_NOT_ALLOWED"


def test_what_cannot_be_a_priority_is_for_the_rules_to_say() -> None:
    assert Account("app", "id", most_priority=4).priority(-1) == -1
    assert Account("app", "id", most_priority=4).priority(10) == 10


def test_keys_do_not_share_names() -> None:
    assert Account("a", "1").scoped("cat") != Account("b", "2").scoped("cat")
    assert Account().scoped("cat") == "cat"
