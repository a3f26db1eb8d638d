#!/bin/sh
# grpcio 1.85.1, grpc.aio: a call whose first write was broken off can be given no status.
#
# Expected: a handler that stops waiting for a slow reader (`asyncio.timeout` around
# `context.write`) can `context.abort`, and a client that reads on gets the status behind the
# message.
# Seen: so it is from the second write on, or after `context.send_initial_metadata`. After the
# first write, which carries the initial metadata along, abort raises ExecuteBatchError
# (GRPC_CALL_ERROR_TOO_MANY_OPERATIONS), since it sends those metadata again; the client gets
# the message and then nothing until its deadline.
# Way round: begin every handler with `await context.send_initial_metadata(())`.
#
# Runs in a folder of its own, in half a minute. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'grpcio==1.85.1'
cat > "$folder/finding.py" <<'PYTHON'
import asyncio

import grpc

SMALL_WINDOWS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 2**16))
DEADLINE_S = 5
raised = {}


async def too_slow(request, context):
    if request == b"metadata first":
        await context.send_initial_metadata(())
    try:
        async with asyncio.timeout(0.5):
            await context.write(bytes(200_000))
    except TimeoutError:
        try:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "read faster")
        except Exception as error:
            raised[request] = f"{type(error).__name__}: {error}"
            raise


async def main():
    server = grpc.aio.server()
    method = grpc.unary_stream_rpc_method_handler(too_slow)
    service = grpc.method_handlers_generic_handler("example.Service", {"Stream": method})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    codes = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=SMALL_WINDOWS) as channel:
        for request in (b"write first", b"metadata first"):
            call = channel.unary_stream("/example.Service/Stream")(request, timeout=DEADLINE_S)
            await asyncio.sleep(1)  # longer than the handler waits; then the client reads on
            messages = 0
            try:
                async for _ in call:
                    messages += 1
            except grpc.aio.AioRpcError:
                pass
            codes[request] = (messages, await call.code())
    await server.stop(None)
    print("grpcio", grpc.__version__, "a write that is broken off, then abort(RESOURCE_EXHAUSTED):")
    for request, (messages, code) in codes.items():
        print(f"  {request.decode()}: client got {messages} message and {code.name};")
        print(f"    abort raised {raised[request]}")
    assert codes[b"write first"] == (1, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert "TOO_MANY_OPERATIONS" in raised[b"write first"]
    assert codes[b"metadata first"] == (1, grpc.StatusCode.RESOURCE_EXHAUSTED)


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" 2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
