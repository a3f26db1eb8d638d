#!/bin/sh
# grpcio 1.85.1: `grpc.keepalive_timeout_ms` does not end the wait for a ping's answer.
#
# Documented: the sender of a keepalive ping waits that long for the acknowledgement and
# closes the connection if none comes.
# Seen: the connection stays open until `grpc.http2.ping_timeout_ms`, 60 s unless set. Only
# where that is set does the peer that answers nothing go in time. (An experiment to mend it,
# github.com/grpc/grpc/pull/39239, was closed; the documents have not changed.)
# Whoever sets the documented option alone, to notice a vanished peer in seconds, notices it
# after a minute.
#
# Runs in a folder of its own, in half a minute. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'grpcio==1.85.1'
cat > "$folder/finding.py" <<'PYTHON'
import asyncio
import time

import grpc

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, ACK = 4, 6, 1
CALM_S, LONGEST_S = 1.0, 15.0
DOCUMENTED = (
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


def frame(kind, flags=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload


async def closed_after_s(options):
    """Return how long a server keeps a client that answers nothing any more; None: longer."""
    server = grpc.aio.server(options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS))
    silent_at = time.monotonic() + CALM_S
    try:
        async with asyncio.timeout(CALM_S + LONGEST_S):
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                if time.monotonic() < silent_at and head[3] in (SETTINGS, PING) and not head[4] & ACK:
                    writer.write(frame(head[3], ACK, payload if head[3] == PING else b""))
    except asyncio.IncompleteReadError:
        return time.monotonic() - silent_at
    except TimeoutError:
        return None
    finally:
        writer.transport.abort()
        await server.stop(None)


async def main():
    documented, with_ping_timeout = await asyncio.gather(
        closed_after_s(DOCUMENTED),
        closed_after_s((*DOCUMENTED, ("grpc.http2.ping_timeout_ms", 2_000))),
    )
    print("grpcio", grpc.__version__, "keepalive_time 1 s, keepalive_timeout 2 s, a silent client:")
    for name, after_s in [("as documented", documented), ("ping_timeout 2 s", with_ping_timeout)]:
        said = f"open after {LONGEST_S:g} s" if after_s is None else f"closed after {after_s:.1f} s"
        print(f"  {name}: {said}")
    assert documented is None, "keepalive_timeout_ms ends the wait now"
    assert with_ping_timeout is not None, "ping_timeout_ms does not end the wait any more"
    assert with_ping_timeout < 6


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
