"""SystemSharedMemoryStatus, Register and Unregister."""

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.shared_memory import SharedMemory

__all__ = ["SharedMemoryMethods"]


class SharedMemoryMethods:
    """The methods by which clients register regions; whoever serves them asks who may."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    async def status(
        self, request: pb.SystemSharedMemoryStatusRequest
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Return one region, or all. Raises RegionNotFoundError."""
        message = pb.SystemSharedMemoryStatusResponse()
        for region in self._memory.status(request.name):
            status = message.regions[region.name]
            status.name = region.name
            status.key = region.segment.key
            status.offset = region.offset
            status.byte_size = region.byte_size
        return message

    async def register(
        self, request: pb.SystemSharedMemoryRegisterRequest
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Register a region. Raises what `SharedMemory.register` does."""
        self._memory.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def unregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget one region, or all. Raises RegionInUseError."""
        self._memory.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()
