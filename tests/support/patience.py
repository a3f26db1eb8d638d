"""How long tests wait for what must come: it ends a hang, and nothing is judged by it."""

__all__ = ["PATIENCE_S"]

PATIENCE_S = 300.0
"""A machine of CI was seen to be four times slower than one where tests are written; a start of
Ray there took most of a minute."""
