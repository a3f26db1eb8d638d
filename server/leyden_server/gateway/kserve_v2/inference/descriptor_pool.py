"""The pool that the stubs beside this file put their descriptors into.

Not the process's own: `tritonclient` and `kserve` bring messages of the same names, and a program
that has both them and a server in its process could import only one of the two.
"""

from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["POOL", "Default"]

POOL = DescriptorPool()


def Default() -> DescriptorPool:  # noqa: N802 - what generated code calls
    """Return the pool; generated code takes this module for protobuf's own."""
    return POOL
