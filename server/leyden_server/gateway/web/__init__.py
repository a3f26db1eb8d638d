"""The HTTP door: one port for browsers, Connect, gRPC-Web and OpenAI's images API."""
