"""System shared memory: the regions that clients have registered, and who uses them.

A region is a part of a segment under a name. A request that reads its inputs from regions, or has
its outputs written into them, holds them until it ends: an unregistered name is free at once,
and a held region cannot be unregistered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from leyden_server.errors import (
    OverloadedError,
    PermissionDeniedError,
    RegionExistsError,
    RegionInUseError,
    RegionNotFoundError,
    UnsupportedError,
)
from leyden_server.gateway.access import is_local
from leyden_server.gateway.kserve_v2.segments import Segment
from leyden_server.gateway.parsing import invalid

__all__ = ["HeldRegions", "Region", "SharedMemory", "Slice"]

MAX_REGIONS = 1024
"""Each has a file open, and a process may open so many only."""

MAX_NAME_CHARS = 255

MAX_INPUT_BYTES = 4 * 2**20
"""Most bytes that one input may take from a region: what a whole request over the wire may have."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Where a tensor lies: `byte_size` bytes from `offset` on in the region of that name."""

    tensor: str
    """The input or output, for errors."""
    region: str
    offset: int
    byte_size: int


@dataclass(slots=True)
class Region:
    """A part of a segment, under a name of the client's."""

    name: str
    segment: Segment
    offset: int
    byte_size: int
    requests: int = 0
    """Those that hold it now."""


class SharedMemory:
    """The regions of one server, by name."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self._regions: dict[str, Region] = {}

    def require_open(self, peer: str) -> None:
        """See that a caller may use it; `peer` is as gRPC writes it.

        Raises:
            UnsupportedError: the server does not offer it.
            PermissionDeniedError: the caller is on another machine.

        """
        if not self._is_on:
            raise UnsupportedError(
                "system shared memory is off: it takes gateway.shared_memory: true in the "
                "server's config; send tensors in the request"
            )
        if not is_local(peer):
            raise PermissionDeniedError(
                "SHARED_MEMORY_IS_LOCAL",
                "system shared memory is for callers over loopback; send tensors in the request",
                {},
            )

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Remember a region: `byte_size` bytes from `offset` on in the segment of that key.

        Several regions may be of one segment.

        Raises:
            InvalidRequestError: the key, or what lies there, is not as it must be.
            RegionExistsError: the name is taken.
            OverloadedError: there are too many.

        """
        if not 1 <= len(name) <= MAX_NAME_CHARS:
            raise invalid("name", f"must have 1 to {MAX_NAME_CHARS} characters; got {len(name)}")
        if name in self._regions:
            raise RegionExistsError(name)
        if byte_size < 1:
            raise invalid("byte_size", "must be 1 or more; got 0")
        if len(self._regions) >= MAX_REGIONS:
            raise _too_many()
        segment = Segment(key)
        try:
            segment.require(offset, byte_size, "byte_size")
        except Exception:
            segment.close()
            raise
        self._regions[name] = Region(name, segment, offset, byte_size)

    def unregister(self, name: str) -> None:
        """Forget a region, or all of them where the name is empty; an unknown one is forgotten.

        Raises:
            RegionInUseError: a request holds it. Of all, the others are forgotten.

        """
        wanted = [name] if name else list(self._regions)
        regions = [self._regions[each] for each in wanted if each in self._regions]
        in_use = tuple(region.name for region in regions if region.requests)
        for region in regions:
            if not region.requests:
                del self._regions[region.name]
                region.segment.close()
        if in_use:
            raise RegionInUseError(in_use)

    def status(self, name: str) -> tuple[Region, ...]:
        """Return one region, or all where the name is empty. Raises RegionNotFoundError."""
        return (self.region(name),) if name else tuple(self._regions.values())

    def region(self, name: str) -> Region:
        """Return the region of that name. Raises RegionNotFoundError."""
        try:
            return self._regions[name]
        except KeyError:
            raise RegionNotFoundError(name[:MAX_NAME_CHARS]) from None

    @contextmanager
    def hold(self, peer: str) -> Iterator["HeldRegions"]:
        """Give one request of that caller what it uses, until it ends."""
        held = HeldRegions(self, peer)
        try:
            yield held
        finally:
            held.release()

    def close(self) -> None:
        """Let go of every region; the server has ended."""
        for region in self._regions.values():
            region.segment.close()
        self._regions.clear()


class HeldRegions:
    """The regions that one request uses."""

    def __init__(self, memory: SharedMemory, peer: str) -> None:
        self._memory = memory
        self._peer = peer
        self._held: dict[str, Region] = {}

    def read(self, where: Slice) -> bytes:
        """Return an input's bytes.

        Raises:
            UnsupportedError, PermissionDeniedError: the caller may not, see `require_open`.
            RegionNotFoundError: there is no such region.
            InvalidRequestError: it has not so many bytes, or they are too many.

        """
        if where.byte_size > MAX_INPUT_BYTES:
            raise invalid(
                where.tensor, f"at most {MAX_INPUT_BYTES} bytes of a region; got {where.byte_size}"
            )
        region = self._hold(where)
        offset = region.offset + where.offset
        return region.segment.read(offset, where.byte_size, where.tensor)

    def reserve(self, where: Slice) -> None:
        """Hold the region that an output will be written into. Raises as `read` does."""
        region = self._hold(where)
        region.segment.require(region.offset + where.offset, where.byte_size, where.tensor)

    def write(self, where: Slice, data: bytes) -> None:
        """Write an output into its region.

        Raises:
            InvalidRequestError: the output is larger than what the request gave for it, or the
                segment has shrunk.

        """
        if len(data) > where.byte_size:
            raise invalid(
                where.tensor,
                f"has {len(data)} bytes; shared_memory_byte_size gives it {where.byte_size} of "
                f"region {where.region!r}",
            )
        region = self._hold(where)
        region.segment.write(region.offset + where.offset, data, where.tensor)

    def release(self) -> None:
        """Let go of all of them."""
        for region in self._held.values():
            region.requests -= 1
        self._held.clear()

    def _hold(self, where: Slice) -> Region:
        self._memory.require_open(self._peer)
        region = self._held.get(where.region) or self._memory.region(where.region)
        if where.region not in self._held:
            self._held[where.region] = region
            region.requests += 1
        if where.offset < 0 or where.byte_size < 1:
            raise invalid(
                where.tensor,
                "shared_memory_offset must be 0 or more and shared_memory_byte_size 1 or more; "
                f"got {where.offset} and {where.byte_size}",
            )
        if where.offset + where.byte_size > region.byte_size:
            raise invalid(
                where.tensor,
                f"shared_memory_offset {where.offset} and {where.byte_size} bytes reach beyond "
                f"region {where.region!r}, which has {region.byte_size} bytes",
            )
        return region


def _too_many() -> OverloadedError:
    return OverloadedError(
        "TOO_MANY_REGIONS",
        f"{MAX_REGIONS} shared memory regions are registered, which is the most; unregister some",
        {"max_regions": str(MAX_REGIONS)},
        retry_after_s=1.0,
    )
