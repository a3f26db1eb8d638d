"""Which float type a device is fast in."""

import torch

__all__ = ["autocast", "fast_dtype"]


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype that forward and backward passes run in: bfloat16 or float32.

    A CPU without AVX-512 has no bfloat16 arithmetic, and oneDNN falls back to reference loops:
    on an AVX2 core the embedded UNet learnt from 2 rows/s in bfloat16 and from 15 in float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capability = torch.backends.cpu.get_cpu_capability()  # type: ignore[no-untyped-call] # torch's
    return torch.bfloat16 if capability.startswith("AVX512") else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """Run what is inside in the device's fast dtype; weights stay in float32."""
    dtype = fast_dtype(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16)
