"""Leyden and its peers on the same weights, in one run: `python -m benchmarks.peers --help`."""
