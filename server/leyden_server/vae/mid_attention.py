"""The attention in the middle of the VAE's decoder, on a GPU in bfloat16.

It has one head of 512 dimensions, which no flash kernel takes: torch's memory-efficient kernel took
4.5 of a decode's 36.7 ms on an H100 (1024 x 1024 px, so 16384 tokens). Here it is two matrix
products with a softmax between, for so many queries at a time that their scores fit into a bounded
piece of memory. Images are attended to one by one: what becomes of one does not depend on those
beside it.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.autoencoders.vae import Decoder

from leyden_server.accelerator.group_norm import GroupNorm

__all__ = ["MidAttention", "attend", "queries_at_once", "replace_mid_attention"]

SCORES_BYTES = 128 << 20
"""What the scores of the queries that are attended with at once may take; their softmax takes as
much again, so at most twice this is held beside the images. 4096 queries of a 1024 x 1024 px image,
enough to fill a GPU."""


def replace_mid_attention(decoder: Decoder) -> None:
    """Put one of ours, with the same weights, in the place of each that it can stand for."""
    for name, attention in list(decoder.mid_block.named_modules()):
        if type(attention) is Attention and _is_known(attention):
            decoder.mid_block.set_submodule(name, MidAttention(attention))


def _is_known(attention: Attention) -> bool:
    """Say whether it is one head over an image's pixels, with GroupNorm and a sum at its end."""
    layers = (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0])
    return (
        attention.heads == 1
        and type(attention.processor) is AttnProcessor2_0
        and type(attention.group_norm) is torch.nn.GroupNorm
        and attention.spatial_norm is None
        and attention.norm_q is None
        and attention.norm_k is None
        and attention.residual_connection
        and attention.rescale_output_factor == 1
        and all(type(layer) is torch.nn.Linear and layer.bias is not None for layer in layers)
    )


class MidAttention(torch.nn.Module):
    """diffusers' Attention of one head over an image's pixels; for inference alone."""

    def __init__(self, attention: Attention) -> None:
        """Take over the layers; queries, keys and values get one."""
        super().__init__()
        self.attention = attention
        attention.group_norm = GroupNorm(attention.group_norm)
        layers = (attention.to_q, attention.to_k, attention.to_v)
        weight = torch.cat([layer.weight.detach() for layer in layers])
        bias = torch.cat([layer.bias.detach() for layer in layers])
        self.register_buffer("qkv_weight", weight, persistent=False)
        self.qkv_weight: torch.Tensor
        self.register_buffer("qkv_bias", bias, persistent=False)
        self.qkv_bias: torch.Tensor

    def forward(
        self, hidden_states: torch.Tensor, temb: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return images (B, C, H, W) and what their pixels attend to. No use for an embedding."""
        # float16 does not hold every score, which the kernels of torch keep in float32. Compiled
        # code would be bound to the number of images.
        if (
            hidden_states.is_cuda
            and hidden_states.dtype == torch.bfloat16
            and not torch.compiler.is_compiling()
        ):
            return self.by_products(hidden_states)
        attended: torch.Tensor = self.attention(hidden_states, temb=temb)
        return attended

    def by_products(self, images: torch.Tensor) -> torch.Tensor:
        """Do the same by matrix products with softmax between them."""
        rows, channels, height, width = images.shape
        normed: torch.Tensor = self.attention.group_norm(images)
        tokens = normed.permute(0, 2, 3, 1).reshape(rows, height * width, channels)
        found = F.linear(tokens, self.qkv_weight, self.qkv_bias)
        attended = torch.empty_like(tokens)
        for one, place in zip(found, attended, strict=True):
            query, key, value = one.chunk(3, dim=-1)
            attend(query, key, value, place)
        out: torch.Tensor = self.attention.to_out[0](attended)
        return out.view(rows, height, width, channels).permute(0, 3, 1, 2) + images


def queries_at_once(keys: int, element_bytes: int) -> int:
    """Return how many queries' scores, one for each key, fit into SCORES_BYTES; 1 at least."""
    return max(1, SCORES_BYTES // (keys * element_bytes))


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, result: torch.Tensor
) -> None:
    """Write softmax(query key^T / sqrt(C)) value of one image to `result`; all are (N, C)."""
    count, channels = query.shape
    size = queries_at_once(count, query.element_size())
    for some, place in zip(torch.split(query, size), torch.split(result, size), strict=True):
        # Scaled in the product, whose sums are in float32, rather than after they are rounded.
        scores = torch.addmm(place.new_empty(()), some, key.t(), beta=0, alpha=channels**-0.5)
        torch.mm(scores.softmax(dim=-1), value, out=place)
