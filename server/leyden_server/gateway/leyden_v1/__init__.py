"""`leyden.v1`: decodes requests and encodes events, and does nothing else."""
