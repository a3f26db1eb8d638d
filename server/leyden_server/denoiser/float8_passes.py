"""The passes before a product in 8-bit floats, which leave what they make rounded for it.

A norm or a gate has each token before it whole and in float32. So its scale costs no pass of its
own, and a quarter of the bytes that float32 has, half of bfloat16's, are written and read again.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from leyden_server.accelerator import layer_norm
from leyden_server.accelerator.float8 import Float8Rows, rounded_rows
from leyden_server.accelerator.triton_kernels import kernels_for
from leyden_server.denoiser import geglu

__all__ = ["Float8AddNorm", "Float8Gate"]


class Float8AddNorm(torch.nn.Module):
    """`AddNorm`, its result in 8-bit floats; for inference alone."""

    def __init__(self, norm: layer_norm.AddNorm) -> None:
        """Take over the weights of `norm`."""
        super().__init__()
        self.norm = norm

    def forward(
        self,
        stream: torch.Tensor,
        delta: torch.Tensor | None = None,
        offset: torch.Tensor | None = None,
    ) -> Float8Rows:
        """Add `delta` to `stream` in place and return the norm of the sum; all (…, C).

        What is normalized has `offset` (C,) added too, which the stream is not given.
        """
        norm = self.norm
        kernels = kernels_for(stream, layer_norm.KERNELS)
        if kernels is not None:
            return Float8Rows(
                *kernels.add_norm_rows(stream, delta, offset, norm.weight, norm.bias, norm.eps)
            )
        if delta is not None:
            stream += delta
        summed = stream.float() if offset is None else stream.float() + offset.float()
        normed = F.layer_norm(
            summed,
            norm.normalized_shape,
            norm.weight.float(),
            norm.bias.float(),
            norm.eps,
        )
        return rounded_rows(normed)


class Float8Gate(torch.nn.Module):
    """`Gate`, its result in 8-bit floats."""

    def forward(self, projected: torch.Tensor) -> Float8Rows:
        """Return the one half times GELU of the other, (…, D) of (…, 2 D)."""
        kernels = kernels_for(projected, geglu.KERNELS)
        if kernels is not None:
            return Float8Rows(*kernels.gate_rows(projected))
        value, gate = projected.float().chunk(2, dim=-1)
        return rounded_rows(value * F.gelu(gate))
