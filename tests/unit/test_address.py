"""The port is ours until it is given back."""

import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pytest
from support.patience import PATIENCE_S

from leyden_server import address, port_holder
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
            client = socket.create_connection((HOST, port), timeout=PATIENCE_S)
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


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.0.2.1", r"192\.0\.2\.1:0: 192\.0\.2\.1 is not an address of this machine"),
        ("no-such-host.invalid", "'no-such-host.invalid' is neither an IP address nor a host name"),
        ("..", "is neither an IP address nor a host name"),
        ("127.0.0.1:80", "is neither an IP address nor a host name"),
    ],
)
def test_a_host_that_is_not_of_this_machine_is_refused(host: str, said: str) -> None:
    with pytest.raises(AddressInUseError, match=f"{said}.*--host"):
        ReservedAddress(host, 0)


def test_who_listens_there_is_named(port: int) -> None:
    """It is this very process, of which it sees that it is its own."""
    with listener(port, reuse=False), pytest.raises(AddressInUseError) as caught:
        ReservedAddress(HOST, port)
    assert f"process {os.getpid()} (" in str(caught.value)
    assert psutil.Process().cmdline()[0] in str(caught.value)
    assert "of user" not in str(caught.value)


def test_a_leyden_server_is_named_as_one(port: int) -> None:
    with ReservedAddress(HOST, port), pytest.raises(AddressInUseError) as caught:
        ReservedAddress(HOST, port)
    assert f"a Leyden server has it, process {os.getpid()} (" in str(caught.value)


def test_a_process_of_another_user_is_named_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = os.geteuid() + 12345
    monkeypatch.setattr(os, "geteuid", lambda: nobody)
    described = port_holder.describe_process(str(os.getpid()))
    assert described.endswith(f" of user {pwd.getpwuid(os.getuid()).pw_name}")


def test_a_listener_whose_process_is_hidden_is_named_by_the_user(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hidden(path: Path) -> Path:
        raise PermissionError

    monkeypatch.setattr(Path, "readlink", hidden)
    with listener(port, reuse=False):
        assert port_holder.describe_listener(port) == "a process listens there"
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 12345)
        user = pwd.getpwuid(os.getuid()).pw_name
        assert port_holder.describe_listener(port) == f"a process of user {user} listens there"
    assert port_holder.describe_listener(port) == ""


def test_another_users_leyden_is_refused_though_its_lock_cannot_be_written(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write every file, so the refusal is made here."""
    open_ = os.open

    def refuse_to_write(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise PermissionError
        return open_(path, flags, mode)

    with ReservedAddress(HOST, port):
        monkeypatch.setattr(os, "open", refuse_to_write)
        with pytest.raises(AddressInUseError, match=f"a Leyden server.*{os.getpid()}"):
            ReservedAddress(HOST, port)
    with ReservedAddress(HOST, port):
        pass


def test_a_process_that_is_gone_is_not_described() -> None:
    assert port_holder.describe_process("") == ""
    assert port_holder.describe_process("4194305") == ""


def test_those_of_one_name_share_an_address_and_others_do_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "SHARE_TIMEOUT_S", 0.1)
    with ReservedAddress(HOST, port, "a"), ReservedAddress(HOST, port, "a") as second:
        assert second.port == port
        for sharer in ("", "b"):
            with pytest.raises(AddressInUseError, match="a Leyden server has it"):
                ReservedAddress(HOST, port, sharer)
    with ReservedAddress(HOST, port), pytest.raises(AddressInUseError):
        ReservedAddress(HOST, port, "a")
    ReservedAddress(HOST, port, "b").close()


def test_the_last_of_those_that_share_holds_it_still(port: int) -> None:
    first = ReservedAddress(HOST, port, "a")
    with ReservedAddress(HOST, port, "a"):
        first.close()
        with pytest.raises(AddressInUseError):
            ReservedAddress(HOST, port)
        ReservedAddress(HOST, port, "a").close()


SHARE = """
import sys
from leyden_server.address import ReservedAddress
held = ReservedAddress("127.0.0.1", int(sys.argv[1]), "gateway")
print("held", flush=True)
sys.stdin.read()
"""


def test_all_that_start_at_the_same_moment_share_it(port: int) -> None:
    command = [sys.executable, "-c", SHARE, str(port)]
    sharers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [(sharer.stdout.readline() if sharer.stdout else "") for sharer in sharers]
    for sharer in sharers:
        sharer.communicate("")
    assert said == ["held\n"] * 4


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
