"""API keys: what one looks like, the file that knows them by their hashes, who changes it.

Knows the ground and `generations.account` alone; no gRPC.
"""
