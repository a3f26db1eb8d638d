"""A receiver of traces that looks at nothing: `python -m benchmarks.trace_sink`."""

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

METHOD = "Export"
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


def main() -> None:
    """Serve until Ctrl-C; an empty ExportTraceServiceResponse is no bytes."""

    def export(request: bytes, context: Any) -> bytes:
        del request, context
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    method = grpc.unary_unary_rpc_method_handler(export, None, None)
    handler = grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"ready: grpc 127.0.0.1:{port}", flush=True)
    signal.sigwait({signal.SIGINT})
    server.stop(None).wait()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main()
