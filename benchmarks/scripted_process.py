"""The tests' script, played as a Gateway would: `python -m benchmarks.scripted_process`.

Every generation is the same six events, with a preview at each step and an image of 64 KiB, out of
one event loop. The tests' own server answers each call in a thread of its own: for 16 streams at
once these wait for each other's interpreter lock. That took from 0.4 to 1.1 ms of CPU a generation,
depending on the client, and decided which client seemed the faster.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import grpc

from benchmarks.conditions import REPOSITORY

sys.path.append(str(REPOSITORY / "tests"))

from support.scripted_server import named, whole_script

from leyden.v1 import image_generation_service_pb2 as pb
from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc

SCRIPT = whole_script(bytes(64 * 1024))


class _Scripted(pb_grpc.ImageGenerationServiceServicer):
    async def GenerateImage(  # noqa: N802
        self, request: pb.GenerateImageRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.GenerateImageResponse]:
        del context
        for event in SCRIPT:
            yield named(event, request.request_id)


async def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = grpc.aio.server()
    pb_grpc.add_ImageGenerationServiceServicer_to_server(_Scripted(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready: grpc 127.0.0.1:{port}", flush=True)
    await ended.wait()
    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main())
