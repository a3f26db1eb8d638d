"""A GroupNorm with random weights and something to normalize."""

import torch


def random_norm(dtype: torch.dtype, *, rows: int) -> tuple[torch.nn.GroupNorm, torch.Tensor]:
    """Return a norm of 4 groups and what it is given, (rows, 8, 12, 10)."""
    generator = torch.Generator().manual_seed(0)
    norm = torch.nn.GroupNorm(4, 8).to(dtype)
    torch.nn.init.normal_(norm.weight, generator=generator)
    torch.nn.init.normal_(norm.bias, generator=generator)
    x = (3 * torch.randn(rows, 8, 12, 10, generator=generator) + 1).to(dtype)
    return norm, x
