"""Server reflection by both of its names, grpc.reflection.v1 and v1alpha.

New tools ask for v1 and some give up where it is missing; grpcio-reflection knows v1alpha
alone. The messages of the two are the same on the wire, so one servicer answers both.
"""

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

__all__ = ["add_reflection"]

V1ALPHA: str = reflection.SERVICE_NAME
V1 = V1ALPHA.replace("v1alpha", "v1")


def add_reflection(service_names: Iterable[str], server: grpc.aio.Server) -> None:
    """Describe these services, and reflection itself, to whoever asks the server."""
    names = (*service_names, V1, V1ALPHA)
    # The stubs of grpc_reflection know nothing of its `aio`.
    servicer = reflection.aio.ReflectionServicer(names, pool=_KnownFiles())  # type: ignore[attr-defined]
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, V1ALPHA):
        handler = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        server.add_generic_rpc_handlers((handler,))


class _KnownFiles:
    """The process's descriptors, and those of v1 where it has none.

    In a pool of their own: a package that brings the real ones could not be imported any
    more if ours stood in the process's.
    """

    def __init__(self) -> None:
        self._default = descriptor_pool.Default()
        self._v1 = descriptor_pool.DescriptorPool()
        self._v1.Add(_v1_file())

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        try:
            return self._default.FindFileByName(name)
        except KeyError:
            return self._v1.FindFileByName(name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        try:
            return self._default.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._v1.FindFileContainingSymbol(symbol)

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        return self._default.FindMessageTypeByName(name)

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802
        return self._default.FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Descriptor) -> list[FieldDescriptor]:  # noqa: N802
        return self._default.FindAllExtensions(message)


def _v1_file() -> FileDescriptorProto:
    """Return v1alpha's file under v1's names."""
    v1alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    v1 = json_format.MessageToJson(v1alpha).replace("v1alpha", "v1")
    return json_format.Parse(v1, FileDescriptorProto())
