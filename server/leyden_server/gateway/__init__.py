"""The front: a gRPC server that validates, admits and drives the three stages.

In the order of a request: `deployment` (the server), `image_generation` (the RPC),
`validation`, `admission`, `generation` (the stages), `event_stream`, `status` (errors),
`request_log`.
"""
