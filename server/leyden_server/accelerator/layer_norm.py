"""A sum and the LayerNorm after it, as a GPU runs both in half precision.

torch reads the sum once more to normalize it. Between a transformer's products these passes are
among what costs most: a kernel writes the sum where the first summand was, and its norm beside it.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere

from leyden_server.accelerator.triton_kernels import kernels_for

__all__ = ["KERNELS", "AddNorm"]

KERNELS = "leyden_server.accelerator.layer_norm_kernels"


class AddNorm(torch.nn.LayerNorm):
    """torch's LayerNorm of a residual stream and what is to be added to it; for inference alone."""

    def __init__(self, norm: torch.nn.LayerNorm) -> None:
        """Take over the weights of `norm`, which has both."""
        super().__init__(norm.normalized_shape, norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(
        self,
        stream: torch.Tensor,
        delta: torch.Tensor | None = None,
        offset: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add `delta` to `stream` in place and return the norm of the sum; all (…, C).

        What is normalized has `offset` (C,) added too, which the stream is not given.
        """
        kernels = kernels_for(stream, KERNELS)
        if kernels is None:
            return self.without_kernels(stream, delta, offset)
        normed: torch.Tensor = kernels.add_norm(
            stream, delta, offset, self.weight, self.bias, self.eps
        )
        return normed

    def without_kernels(
        self, stream: torch.Tensor, delta: torch.Tensor | None, offset: torch.Tensor | None
    ) -> torch.Tensor:
        """Do the same by torch's operators."""
        if delta is not None:
            stream += delta
        if offset is not None:
            stream = stream + offset.to(stream.dtype)
        return F.layer_norm(stream, self.normalized_shape, self.weight, self.bias, self.eps)
