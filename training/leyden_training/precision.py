"""Which float type a device is fast in, and which attention."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["fast_dtype", "mixed_precision"]


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype that forward and backward passes run in: bfloat16 or float32.

    A CPU without AVX-512 has no bfloat16 arithmetic, and oneDNN falls back to reference loops:
    on an AVX2 core the embedded UNet learnt from 2 rows/s in bfloat16 and from 15 in float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()
    return torch.bfloat16 if capability.startswith("AVX512") else torch.float32


@contextmanager
def mixed_precision(device: torch.device) -> Iterator[None]:
    """Run what is inside in the device's fast dtype; weights stay in float32.

    On a CPU in bfloat16, attention is plain matrix products: these have AMX, the backward pass
    of torch's fused CPU kernel has not. The teacher learnt from 86 rows/s in place of 64 at half
    size (48 rows of 16² latents, forward and backward, one Xeon core with AMX).
    """
    low = fast_dtype(device) is torch.bfloat16
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, enabled=low))
        if low and device.type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
