"""Calls beside inference that are sent to both servers; each stands alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from tritonclient.grpc import service_pb2 as pb

__all__ = ["CALLS", "Call", "segment"]

KEY = "/leyden-test-beside-triton"
BYTES = 2 * 4096


@dataclass(frozen=True, slots=True)
class Call:
    """A method and its request, under a name; MODEL stands for the model's name."""

    name: str
    method: str
    request: Any
    before: tuple[Any, ...] = ()
    """Regions that are registered first; all are unregistered afterwards."""


@contextmanager
def segment() -> Iterator[None]:
    """Have a segment of two pages under `KEY`."""
    made = SharedMemory(KEY[1:], create=True, size=BYTES)
    try:
        yield
    finally:
        made.close()
        made.unlink()


def register(name: str = "a", key: str = KEY, offset: int = 0, byte_size: int = 4096) -> Any:
    return pb.SystemSharedMemoryRegisterRequest(
        name=name, key=key, offset=offset, byte_size=byte_size
    )


def ready(name: str, version: str = "") -> Any:
    return pb.ModelReadyRequest(name=name, version=version)


REGISTER = "SystemSharedMemoryRegister"
UNREGISTER = "SystemSharedMemoryUnregister"
STATUS = "SystemSharedMemoryStatus"

CALLS = (
    Call("ready: the model", "ModelReady", ready("MODEL")),
    Call("ready: an unknown model", "ModelReady", ready("nosuch")),
    Call("ready: version 7", "ModelReady", ready("MODEL", "7")),
    Call("ready: version x", "ModelReady", ready("MODEL", "x")),
    Call("metadata: an unknown model", "ModelMetadata", pb.ModelMetadataRequest(name="nosuch")),
    Call("config: an unknown model", "ModelConfig", pb.ModelConfigRequest(name="nosuch")),
    Call(
        "statistics: an unknown model",
        "ModelStatistics",
        pb.ModelStatisticsRequest(name="nosuch"),
    ),
    Call(
        "index: another repository",
        "RepositoryIndex",
        pb.RepositoryIndexRequest(repository_name="other"),
    ),
    Call("shared memory: a region", REGISTER, register()),
    Call("shared memory: a name that is taken", REGISTER, register(), (register(),)),
    Call("shared memory: a key that is not there", REGISTER, register(key="/nosuch-key")),
    Call("shared memory: a second region of a key", REGISTER, register("b"), (register(),)),
    Call("shared memory: a region without a name", REGISTER, register("")),
    Call("shared memory: beyond the segment", REGISTER, register(byte_size=BYTES + 1)),
    Call("shared memory: no bytes", REGISTER, register(byte_size=0)),
    Call("shared memory: an offset within a page", REGISTER, register(offset=100)),
    Call(
        "shared memory: to forget an unknown name",
        UNREGISTER,
        pb.SystemSharedMemoryUnregisterRequest(name="nosuch"),
    ),
    Call("shared memory: to forget all", UNREGISTER, pb.SystemSharedMemoryUnregisterRequest()),
    Call("shared memory: all regions", STATUS, pb.SystemSharedMemoryStatusRequest()),
    Call(
        "shared memory: an unknown region",
        STATUS,
        pb.SystemSharedMemoryStatusRequest(name="nosuch"),
    ),
)
