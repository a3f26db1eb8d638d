"""The port is ours until it is given back."""

import socket

import grpc
import pytest

from leyden_server import address
from leyden_server.address import ReservedAddress
from leyden_server.errors import AddressInUseError

HOST = "127.0.0.1"


def listener(port: int, *, reuse: bool, host: str = HOST) -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if reuse:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        server.bind((host, port))
        server.listen()
    except OSError:
        server.close()
        raise
    return server


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.mark.parametrize("reuse", [False, True])
def test_a_port_that_someone_listens_on_is_refused_by_name(port: int, reuse: bool) -> None:
    with (
        listener(port, reuse=reuse),
        pytest.raises(AddressInUseError, match=f"cannot listen on {HOST}:{port}: .*--port"),
    ):
        ReservedAddress(HOST, port)
    ReservedAddress(HOST, port).close()


def test_a_second_server_is_refused_while_the_first_lives(port: int) -> None:
    with ReservedAddress(HOST, port) as first:
        assert first.port == port
        for host in (HOST, "0.0.0.0"):
            with pytest.raises(AddressInUseError, match=str(port)):
                ReservedAddress(host, port)
    with ReservedAddress(HOST, port) as second:
        assert second.port == port


def test_two_that_start_at_the_same_moment_do_not_both_get_it(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes when the first has seen the port free and has not yet bound it."""
    check_free = address._check_free
    tries: list[str] = []

    def check_free_and_start_another(family: socket.AddressFamily, host: str, port: int) -> None:
        check_free(family, host, port)
        if not tries:
            tries.append(host)
            with pytest.raises(AddressInUseError):
                ReservedAddress(host, port)

    monkeypatch.setattr(address, "_check_free", check_free_and_start_another)
    ReservedAddress(HOST, port).close()
    assert tries == [HOST]


def test_a_reserved_port_is_shared_with_the_gateways_alone(port: int) -> None:
    with ReservedAddress(HOST, port):
        with listener(port, reuse=True), listener(port, reuse=True):
            client = socket.create_connection((HOST, port), timeout=10)
            client.close()
        with pytest.raises(OSError, match="in use"):
            listener(port, reuse=False)


def test_port_0_takes_a_free_one() -> None:
    with ReservedAddress(HOST, 0) as first, ReservedAddress(HOST, 0) as second:
        assert 0 < first.port != second.port > 0
        assert str(first) == f"{HOST}:{first.port}"
        with pytest.raises(AddressInUseError):
            ReservedAddress(HOST, first.port)
        listener(first.port, reuse=True).close()


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(AddressInUseError, match=r"192\.0\.2\.1:0"):
        ReservedAddress("192.0.2.1", 0)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_an_ipv6_address_is_one_that_grpc_takes(host: str) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no ::1")
    with ReservedAddress(host, 0) as reserved:
        assert str(reserved) == f"[::1]:{reserved.port}"
        server = grpc.aio.server(options=(("grpc.so_reuseport", 1),))
        assert server.add_insecure_port(str(reserved)) == reserved.port
        await server.stop(None)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
