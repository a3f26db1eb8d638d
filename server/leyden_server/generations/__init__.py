"""The house: what a generation is, who waits for it, who watches it.

It knows no gRPC, protobuf, torch or Ray.
"""
