"""Forwards whose operators are recorded once and then run without Python.

Eagerly, Python walks through every module for every operator. Where operators are small, as those
of a small model on a CPU are, that is a good part of a step; and Python can do one thing at a time,
so the thread that steps and the one that answers the callers wait for each other. The interpreter
of torch.jit runs the same operators, with the same bits, and holds no lock of Python's meanwhile.

torch calls torch.jit deprecated, in favour of compilers; there is none here. Nothing depends on it:
what cannot be recorded, or does not do the same, runs eagerly.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Sequence

import torch

__all__ = ["traced"]

logger = logging.getLogger(__name__)

Inputs = tuple[torch.Tensor, ...]

_tracing = threading.Lock()
"""What torch.jit records with, and warnings, are the process's."""


@torch.inference_mode()
def traced(
    forward: Callable[..., torch.Tensor], inputs: Inputs, others: Sequence[Inputs]
) -> Callable[..., torch.Tensor] | None:
    """Return `forward` as it was recorded with `inputs`; None where it has to run eagerly.

    `others` are inputs of other shapes: the recorded forward has to return the same bits for
    them, or it holds for the shapes alone that it was recorded with. No parameter that it reads
    may require a gradient.
    """
    try:
        # Where torch has them; it calls them deprecated.
        from torch.jit._fuser import optimized_execution

        with _tracing, warnings.catch_warnings():
            # Each size that Python decides by is one: what is decided is the same for all sizes
            # that this is for, which `others` shows. And the deprecation.
            warnings.simplefilter("ignore")
            recorded = torch.jit.trace(  # type: ignore[no-untyped-call]
                forward, inputs, check_trace=False
            )

        def run(*inputs: torch.Tensor) -> torch.Tensor:
            # Optimizing is for one shape after another, and no operator here would gain.
            with optimized_execution(False):
                found: torch.Tensor = recorded(*inputs)
            return found

        same = all(torch.equal(run(*one), forward(*one)) for one in (inputs, *others))
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError):
        logger.warning("a model runs eagerly: it could not be traced", exc_info=True)
        return None
    if not same:
        logger.warning("a model runs eagerly: as it was traced, other shapes do not come the same")
        return None
    return run
