"""Server reflection by both of its names, grpc.reflection.v1 and v1alpha.

New tools ask for v1 and some give up where it is missing; grpcio-reflection knows v1alpha
alone. The messages of the two are the same on the wire, so one servicer answers both.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["add_reflection"]

Found = TypeVar("Found")

V1ALPHA: str = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")


def add_reflection(
    service_names: Iterable[str], server: grpc.aio.Server, *pools: DescriptorPool
) -> None:
    """Describe these services, and reflection itself, to whoever asks the server.

    `pools` have what is described beside what the process's own pool has.
    """
    names = (*service_names, V1, V1ALPHA)
    # The stubs of grpc_reflection know nothing of its `aio`.
    servicer = reflection.aio.ReflectionServicer(names, pool=_KnownFiles(pools))  # type: ignore[attr-defined]
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, V1ALPHA):
        handler = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        server.add_generic_rpc_handlers((handler,))


class _KnownFiles:
    """The process's descriptors, and those of other pools where it has none: v1's, for one.

    In a pool of their own: a package that brings the real ones could not be imported any
    more if ours stood in the process's.
    """

    def __init__(self, pools: Iterable[DescriptorPool]) -> None:
        v1 = DescriptorPool()
        v1.Add(_v1_file())
        # Ours first: where another package has files of the same names, ours are what is served.
        self._pools = (*pools, descriptor_pool.Default(), v1)

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        return self._first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        return self._first(lambda pool: pool.FindFileContainingSymbol(symbol))

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        return self._first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802
        return self._pool_of(message).FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> list[FieldDescriptor]:  # noqa: N802
        return self._pool_of(message).FindAllExtensions(message)

    def _first(self, find: Callable[[DescriptorPool], Found]) -> Found:
        """Return what the first pool that has it finds; raises KeyError where none has."""
        for pool in self._pools[:-1]:
            with suppress(KeyError):
                return find(pool)
        return find(self._pools[-1])

    def _pool_of(self, message: Descriptor) -> DescriptorPool:
        pool: DescriptorPool = message.file.pool
        return pool


def _v1_file() -> FileDescriptorProto:
    """Return v1alpha's file under v1's names."""
    v1alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    v1 = json_format.MessageToJson(v1alpha).replace("v1alpha", "v1")
    return json_format.Parse(v1, FileDescriptorProto())
