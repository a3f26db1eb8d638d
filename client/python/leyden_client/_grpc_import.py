"""gRPC imported with the log level that its documentation calls the default: errors alone.

gRPC 1.85 reads GRPC_VERBOSITY as it is imported, and without it also prints an INFO line when a
server goes away, in the midst of a progress display. The environment is left as it was found.
"""

import os

if "GRPC_VERBOSITY" in os.environ:
    import grpc
else:
    os.environ["GRPC_VERBOSITY"] = "ERROR"
    try:
        import grpc  # noqa: F401
    finally:
        del os.environ["GRPC_VERBOSITY"]
