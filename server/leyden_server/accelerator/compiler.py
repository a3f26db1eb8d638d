"""torch.compile as the stages use it, and what it says where it cannot."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from leyden_server.errors import ConfigError

__all__ = ["any_number_of_rows", "compiled", "explained"]

BACKEND = "inductor"
MAX_FORMS = 64
"""dynamo's own limit is 8 compiled forms of one function, fewer than five sizes may need."""


def compiled(module: nn.Module) -> Callable[..., Any]:
    """Return `module` as it runs compiled; the first run of each shape compiles."""
    torch._dynamo.config.recompile_limit = MAX_FORMS
    # fullgraph: a break in the graph is an error now rather than a slow step later.
    return torch.compile(module, backend=BACKEND, dynamic=False, fullgraph=True)


def any_number_of_rows(*inputs: torch.Tensor) -> None:
    """Mark inputs (P, …), so that what is compiled for them takes any number of rows.

    But one row: torch always compiles that apart.
    """
    for tensor in inputs:
        if tensor.shape[0] > 1:
            torch._dynamo.mark_dynamic(tensor, 0)


@contextmanager
def explained(setting: str) -> Iterator[None]:
    """Turn what the compiler raises into a ConfigError that names `setting`."""
    # Loaded with the compiler, so not before it is asked for.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        first_line = str(error).strip().split("\n", 1)[0]
        raise ConfigError(
            f"{setting}: torch.compile failed: {type(error).__name__}: {first_line} "
            "(it needs a C++ compiler such as g++ and, on a GPU, Triton); eager needs neither"
        ) from error
