"""What the Gateway asks of gRPC: pings, vanished peers, the age of connections.

gRPC ignores an option that it does not know without a word, so every name here has a
test that shows what it does. Two of them do not do what their names promise (grpcio 1.85):

- `grpc.keepalive_timeout_ms` does not end the wait for the answer to a ping where it is
  shorter than `grpc.http2.ping_timeout_ms` (60 s unless set): the latter alone does. What
  it does set is TCP_USER_TIMEOUT, how long sent bytes may stay unacknowledged.
- `grpc.http2.min_ping_interval_without_data_ms` is the server's minimum between the pings
  that it receives; gRPC's documents name only its C macro, GRPC_ARG_HTTP2_MIN_RECV_PING….
"""

from leyden_server.config import GatewayConfig

__all__ = ["PEER_OPTIONS", "server_options"]

Options = tuple[tuple[str, int], ...]

MIN_PING_INTERVAL_MS = 2_500
"""A client may ping every 5 s; half of it leaves room for a network that bunches pings."""

KEEPALIVE_TIME_MS = 15_000
PING_TIMEOUT_MS = 15_000
"""Silence of so many milliseconds brings a ping, and so many without its answer the end:
a peer that vanished is given up after 30 s. The answer may have to wait behind what fills
the buffers of a slow network, hence not less."""

UNACKNOWLEDGED_TIMEOUT_MS = 30_000
"""Where unsent bytes are in front of the ping, only TCP can tell that nobody takes them. Not
less, or a client that is paused for a moment is sent away before `write_timeout_s`."""

_NOTICE_A_VANISHED_PEER: Options = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
    ("grpc.keepalive_timeout_ms", UNACKNOWLEDGED_TIMEOUT_MS),
)

PEER_OPTIONS: Options = (
    *_NOTICE_A_VANISHED_PEER,
    # Else a client's third ping of a quiet stream, and all later ones, come a minute apart.
    ("grpc.http2.max_pings_without_data", 0),
)
"""For channels from one Gateway to another."""


def server_options(config: GatewayConfig) -> Options:
    """Return the options of the Gateway's gRPC server."""
    age_ms = round(config.max_connection_age_s * 1000)
    return (
        # Several Gateways listen on one address, and a new one before the old one ends.
        ("grpc.so_reuseport", 1),
        # Both ways: clients may ping without a call, and so does this server.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        *_NOTICE_A_VANISHED_PEER,
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.max_concurrent_streams", config.max_streams_per_connection),
        # Without grpc.max_connection_age_grace_ms: the calls in flight have no limit.
        *((("grpc.max_connection_age_ms", age_ms),) if age_ms else ()),
    )
