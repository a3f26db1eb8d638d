"""The door: a gRPC server that decodes requests, watches generations, and encodes their events.

In the order of a call: `deployment` and `server` (the server), `access` (who calls), a folder for
each protocol (`leyden_v1`, `kserve_v2`), `writing` (to readers of any pace), `status` (errors).
"""
