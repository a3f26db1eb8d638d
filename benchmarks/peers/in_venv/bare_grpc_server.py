"""Bare diffusers behind the smallest grpc.aio servicer: no batches, one image at a time."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import grpc.aio
from pipeline import Generator, png, settings


async def main() -> None:
    """Serve /benchmark.Images/Generate: JSON {prompt, seed} in, a PNG out."""
    given = settings()
    pipelines: asyncio.Queue[Generator] = asyncio.Queue()
    for _ in range(given["pipelines"]):
        # Whole pipelines: a fast tokenizer may not be used by two threads at once.
        pipelines.put_nowait(Generator(given["folder"], given["threads"]))
    threads = ThreadPoolExecutor(given["pipelines"])

    async def generate(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        asked = json.loads(request)
        pipeline = await pipelines.get()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                threads, lambda: png(pipeline.images([asked["prompt"]], [asked["seed"]])[0])
            )
        finally:
            pipelines.put_nowait(pipeline)

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(generate)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("benchmark.Images", {"Generate": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{given['port']}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
