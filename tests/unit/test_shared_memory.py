"""Regions of shared memory: which segments may be one, who holds them, and that nothing escapes."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory as ClientsMemory
from pathlib import Path

import pytest

from leyden_server.errors import (
    InvalidRequestError,
    OverloadedError,
    PermissionDeniedError,
    RegionExistsError,
    RegionInUseError,
    RegionNotFoundError,
    UnsupportedError,
)
from leyden_server.gateway.kserve_v2 import shared_memory
from leyden_server.gateway.kserve_v2.segments import RESERVED, SHARED_MEMORY, Segment
from leyden_server.gateway.kserve_v2.shared_memory import SharedMemory, Slice

PAGE = 4096


@pytest.fixture
def segment() -> Iterator[ClientsMemory]:
    """A client's segment of one page, as tritonclient makes them."""
    segment = ClientsMemory(f"test-{uuid.uuid4()}", create=True, size=PAGE)
    yield segment
    segment.close()
    with suppress(FileNotFoundError):
        segment.unlink()


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory(is_on=True)
    yield memory
    memory.close()


def key(segment: ClientsMemory) -> str:
    return f"/{segment.name}"


def bytes_of(segment: ClientsMemory) -> memoryview:
    assert segment.buf is not None
    return segment.buf


# ---- what may be a segment --------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", ["", "/", "name", "/a/b", "/../etc/passwd", "/a b", "/ä", "/a\n", "/" + "a" * 256]
)
def test_a_key_is_a_slash_and_a_plain_name(wrong: str) -> None:
    with pytest.raises(InvalidRequestError, match="key: must be '/' and 1 to 255"):
        Segment(wrong)


@pytest.mark.parametrize("beginning", RESERVED)
def test_names_of_others_are_kept_for_them(beginning: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"kept for {RESERVED[beginning]}"):
        Segment(f"/{beginning}x1")


@pytest.mark.parametrize("dots", ["/.", "/.."])
def test_a_folder_is_no_segment(dots: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be opened: Is a directory"):
        Segment(dots)


def test_what_is_not_there_cannot_be_opened() -> None:
    with pytest.raises(InvalidRequestError, match="cannot be opened: No such file"):
        Segment(f"/test-{uuid.uuid4()}")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidRequestError, match="cannot be opened"):
        Segment("/link", tmp_path)
    (tmp_path / "other").hardlink_to(tmp_path / "secret")
    with pytest.raises(InvalidRequestError, match="several names"):
        Segment("/other", tmp_path)


def test_a_pipe_is_no_segment_and_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequestError, match="not a regular file"):
        Segment("/pipe", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_another_users_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"x")
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(InvalidRequestError, match="belongs to user 12345"):
        Segment("/theirs", tmp_path)


def test_a_refused_segment_stays_open_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths
    for _ in range(20):
        with pytest.raises(InvalidRequestError):
            Segment("/b", tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


# ---- copying ----------------------------------------------------------------------


def test_bytes_go_in_and_out_at_their_offsets(memory: SharedMemory, segment: ClientsMemory) -> None:
    bytes_of(segment)[100:107] = b"a storm"
    memory.register("in", key(segment), 90, 50)
    memory.register("out", key(segment), 200, 10)  # a second one of the same segment
    with memory.hold("ipv4:127.0.0.1:5") as held:
        assert held.read(Slice("prompt", "in", 10, 7)) == b"a storm"
        held.write(Slice("seed", "out", 2, 8), b"12345678")
    assert bytes(bytes_of(segment)[200:212]) == b"\0\x0012345678\0\0"


@pytest.mark.parametrize(
    ("offset", "size"),
    [(0, PAGE + 1), (PAGE, 1), (2**63 - 1, 1), (2**64 - 1, 2**64 - 1), (1, 2**64 - 1), (0, 0)],
)
def test_a_region_lies_within_its_segment(
    memory: SharedMemory, segment: ClientsMemory, offset: int, size: int
) -> None:
    with pytest.raises(InvalidRequestError, match="byte_size: "):
        memory.register("in", key(segment), offset, size)
    assert memory.status("") == ()


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 51), (50, 1), (-1, 4), (0, 0), (0, -1), (2**63 - 1, 2**63 - 1)]
)
def test_a_slice_lies_within_its_region(
    memory: SharedMemory, segment: ClientsMemory, offset: int, size: int
) -> None:
    memory.register("in", key(segment), 0, 50)
    with memory.hold("ipv4:127.0.0.1:5") as held:
        for use in (held.read, held.reserve):
            with pytest.raises(InvalidRequestError, match="prompt: "):
                use(Slice("prompt", "in", offset, size))


SHRUNK = """
import os, sys
from leyden_server.errors import InvalidRequestError
from leyden_server.gateway.kserve_v2.shared_memory import SharedMemory, Slice

memory = SharedMemory(is_on=True)
memory.register("all", sys.argv[1], 0, 4 * 4096)
os.truncate("/dev/shm" + sys.argv[1], 4096)
with memory.hold("ipv4:127.0.0.1:5") as held:
    for use in (held.read, lambda where: held.write(where, bytes(where.byte_size))):
        try:
            use(Slice("image", "all", 2 * 4096, 4096))
        except InvalidRequestError as error:
            print(error)
print(os.stat("/dev/shm" + sys.argv[1]).st_size)
"""


def test_a_segment_that_shrinks_kills_nobody(segment: ClientsMemory) -> None:
    """In a process of its own: whoever touches a mapping beyond the file's end gets SIGBUS."""
    os.truncate(SHARED_MEMORY / segment.name, 4 * PAGE)
    command = [sys.executable, "-c", SHRUNK, key(segment)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    beyond = f"image: offset 8192 and 4096 bytes reach beyond '{key(segment)}', which has 4096"
    assert done.stdout.splitlines() == [f"{beyond} bytes"] * 2 + ["4096"]


def test_an_input_is_no_larger_than_a_request(memory: SharedMemory) -> None:
    large = ClientsMemory(create=True, size=shared_memory.MAX_INPUT_BYTES + 1)
    try:
        memory.register("large", key(large), 0, large.size)
        with (
            memory.hold("ipv4:127.0.0.1:5") as held,
            pytest.raises(InvalidRequestError, match="prompt: at most"),
        ):
            held.read(Slice("prompt", "large", 0, large.size))
    finally:
        large.close()
        large.unlink()


def test_an_output_that_is_too_large_says_what_it_needs(
    memory: SharedMemory, segment: ClientsMemory
) -> None:
    memory.register("out", key(segment), 0, PAGE)
    with memory.hold("ipv4:127.0.0.1:5") as held:
        with pytest.raises(InvalidRequestError, match=r"image: has 10 bytes; .* gives it 9"):
            held.write(Slice("image", "out", 0, 9), bytes(10))
        held.write(Slice("image", "out", 0, 9), b"123456789")
    assert bytes(bytes_of(segment)[:10]) == b"123456789\0"


# ---- who may ----------------------------------------------------------------------


def test_it_is_off_unless_the_config_says_so() -> None:
    off = SharedMemory(is_on=False)
    with pytest.raises(UnsupportedError, match=r"gateway\.shared_memory: true"):
        off.require_open("ipv4:127.0.0.1:5")
    with off.hold("ipv4:127.0.0.1:5") as held, pytest.raises(UnsupportedError):
        held.read(Slice("prompt", "in", 0, 4))


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:5", "ipv6:%5B::1%5D:5", "unix:"])
def test_this_machine_may(memory: SharedMemory, segment: ClientsMemory, peer: str) -> None:
    memory.require_open(peer)
    memory.register("in", key(segment), 0, 50)
    with memory.hold(peer) as held:
        held.reserve(Slice("image", "in", 0, 50))


@pytest.mark.parametrize("peer", ["ipv4:10.0.0.1:5", "ipv6:%5B2001:db8::1%5D:5", ""])
def test_other_machines_may_not(memory: SharedMemory, segment: ClientsMemory, peer: str) -> None:
    memory.register("in", key(segment), 0, 50)
    with pytest.raises(PermissionDeniedError, match="over loopback"):
        memory.require_open(peer)
    with memory.hold(peer) as held, pytest.raises(PermissionDeniedError):
        held.reserve(Slice("image", "in", 0, 50))


# ---- names ------------------------------------------------------------------------


def test_a_name_belongs_to_one_region(memory: SharedMemory, segment: ClientsMemory) -> None:
    memory.register("in", key(segment), 0, 10)
    with pytest.raises(RegionExistsError, match="'in' is registered"):
        memory.register("in", key(segment), 0, 10)
    memory.unregister("in")
    memory.register("in", key(segment), 4, 20)
    (region,) = memory.status("in")
    assert (region.name, region.offset, region.byte_size) == ("in", 4, 20)
    with pytest.raises(RegionNotFoundError, match="'out' is registered"):
        memory.status("out")
    memory.unregister("never heard of")
    for wrong in ("", "x" * 256):
        with pytest.raises(InvalidRequestError, match="name: must have 1 to 255"):
            memory.register(wrong, key(segment), 0, 10)


def test_a_held_region_stays_until_its_request_ends(
    memory: SharedMemory, segment: ClientsMemory
) -> None:
    for name in ("in", "out", "other"):
        memory.register(name, key(segment), 0, 100)
    with memory.hold("ipv4:127.0.0.1:5") as first, memory.hold("ipv4:127.0.0.1:5") as second:
        first.read(Slice("prompt", "in", 0, 4))
        second.read(Slice("prompt", "in", 0, 4))
        second.reserve(Slice("image", "out", 0, 4))
        with pytest.raises(RegionInUseError, match="'in'"):
            memory.unregister("in")
        with pytest.raises(RegionInUseError, match="'in', 'out'"):
            memory.unregister("")
        assert [region.name for region in memory.status("")] == ["in", "out"]
        second.release()
        memory.unregister("out")
        with pytest.raises(RegionInUseError):
            memory.unregister("in")
    memory.unregister("in")
    assert memory.status("") == ()


def test_a_request_that_fails_lets_go(memory: SharedMemory, segment: ClientsMemory) -> None:
    memory.register("in", key(segment), 0, 100)
    with pytest.raises(InvalidRequestError), memory.hold("ipv4:127.0.0.1:5") as held:  # noqa: PT012
        held.read(Slice("prompt", "in", 0, 4))
        held.read(Slice("seed", "in", 99, 8))
    memory.unregister("in")


def test_a_held_region_is_the_same_segment_whatever_its_name_becomes(
    memory: SharedMemory, segment: ClientsMemory
) -> None:
    bytes_of(segment)[:3] = b"old"
    memory.register("in", key(segment), 0, 3)
    segment.unlink()
    anew = ClientsMemory(segment.name, create=True, size=PAGE)
    try:
        bytes_of(anew)[:3] = b"new"
        with memory.hold("ipv4:127.0.0.1:5") as held:
            assert held.read(Slice("prompt", "in", 0, 3)) == b"old"
    finally:
        anew.close()
        anew.unlink()


def test_regions_are_so_many_and_no_more(
    memory: SharedMemory, segment: ClientsMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "MAX_REGIONS", 3)
    for n in range(3):
        memory.register(str(n), key(segment), 0, 10)
    with pytest.raises(OverloadedError, match="3 shared memory regions"):
        memory.register("3", key(segment), 0, 10)


def test_what_is_forgotten_is_closed(memory: SharedMemory, segment: ClientsMemory) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for n in range(10):
        memory.register(str(n), key(segment), 0, 10)
        with pytest.raises(InvalidRequestError):
            memory.register("beyond", key(segment), 0, PAGE + 1)
    memory.unregister("")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
