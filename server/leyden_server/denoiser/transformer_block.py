"""diffusers' BasicTransformerBlock with fewer products and fewer passes over memory.

Queries, keys and values are one product; the sum of a residual stream and what is to be added to it
is left to the norm that comes next, which reads it anyway; the keys and values of the prompt come
in ready, once for a whole generation.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers.models import activations
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn

from leyden_server.accelerator.layer_norm import AddNorm
from leyden_server.accelerator.linear import joined
from leyden_server.denoiser.gated_product import gated_product
from leyden_server.denoiser.geglu import GEGLU, Gate
from leyden_server.denoiser.summing_products import add_product

__all__ = ["TransformerBlock"]


class TransformerBlock(nn.Module):
    """A block with diffusers' weights; for inference alone.

    Each product, norm and gate is a module, and none but the next reads what it gives: another
    precision can take the place of a norm or gate together with that of the product after it.
    """

    def __init__(
        self, block: BasicTransformerBlock, first_column: int, lacking: torch.Tensor
    ) -> None:
        """Take over the weights of a block that `is_known`.

        `first_column`: where its keys begin in what `forward` gets; its values follow. `lacking`
        (C,) float32: the biases of the blocks before it, summed up.
        """
        super().__init__()
        own, cross = block.attn1, block.attn2
        self.heads: int = own.heads
        self.norm1, self.norm2, self.norm3 = map(AddNorm, (block.norm1, block.norm2, block.norm3))
        self.qkv = joined([own.to_q, own.to_k, own.to_v], 3 * own.inner_dim)
        self.out1: nn.Linear = own.to_out[0]
        self.q2: nn.Module = cross.to_q
        self.out2: nn.Linear = cross.to_out[0]
        self.ff_in: nn.Module = block.ff.net[0].proj
        self.gate = Gate()
        self.ff_out: nn.Linear = block.ff.net[2]
        self._keys = slice(first_column, first_column + cross.inner_dim)
        self._values = slice(self._keys.stop, self._keys.stop + cross.inner_dim)
        biases = [layer.bias.detach() for layer in (self.out1, self.out2, self.ff_out)]
        self.lacking: torch.Tensor
        """(4, C): the biases that a stream lacks which `add_to` is used on; last, after it."""
        self.register_buffer("lacking", torch.stack([lacking, *biases]).cumsum(0), persistent=False)

    def forward(
        self, stream: torch.Tensor, delta: torch.Tensor | None, keys_values: torch.Tensor
    ) -> torch.Tensor:
        """Add `delta` to `stream`, both (B, N, C), in place; return what to add to it next.

        `keys_values` (B, T, W): those of the prompt, of all blocks side by side.
        """
        delta = self.out1(self._own_attention(self.norm1(stream, delta)))
        delta = self.out2(self._cross_attention(self.norm2(stream, delta), keys_values))
        found: torch.Tensor = self.ff_out(self._gated(self.norm3(stream, delta)))
        return found

    def add_to(self, stream: torch.Tensor, keys_values: torch.Tensor) -> None:
        """Add all of it to `stream` in place, by `add_product`; the biases stay out of it."""
        lack_1, lack_2, lack_3, _ = self.lacking
        attended = self._own_attention(self.norm1(stream, None, lack_1))
        add_product(stream, attended, self.out1)
        attended = self._cross_attention(self.norm2(stream, None, lack_2), keys_values)
        add_product(stream, attended, self.out2)
        add_product(stream, self._gated(self.norm3(stream, None, lack_3)), self.ff_out)

    @property
    def can_add(self) -> bool:
        """Whether `add_to` is for it: nothing that it concerns has been replaced."""
        layers, norms = (self.out1, self.out2, self.ff_out), (self.norm1, self.norm2, self.norm3)
        return all(type(layer) is nn.Linear for layer in layers) and all(
            type(norm) is AddNorm for norm in norms
        )

    def _own_attention(self, normed: torch.Tensor) -> torch.Tensor:
        return self._attention(*self.qkv(normed).chunk(3, dim=-1))

    def _cross_attention(self, normed: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        k, v = keys_values[..., self._keys], keys_values[..., self._values]
        return self._attention(self.q2(normed), k, v)

    def _gated(self, normed: torch.Tensor) -> torch.Tensor:
        # Neither has been replaced: the two may be one.
        if type(self.ff_in) is nn.Linear and type(self.gate) is Gate:
            return gated_product(normed, self.ff_in, self.gate)
        gated: torch.Tensor = self.gate(self.ff_in(normed))
        return gated

    def _attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        shape = (q.shape[0], -1, self.heads, q.shape[-1] // self.heads)
        q, k, v = (one.reshape(shape).transpose(1, 2) for one in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    @staticmethod
    def is_known(block: nn.Module) -> bool:
        """Whether a block computes what `forward` does: SDXL's do, and those of its kin."""
        return (
            type(block) is BasicTransformerBlock
            and block.norm_type == "layer_norm"
            and block.pos_embed is None
            and not block.only_cross_attention
            and not block.double_self_attention
            and block.cross_attention_dim is not None
            and all(
                type(norm) is nn.LayerNorm and norm.weight is not None and norm.bias is not None
                for norm in (block.norm1, block.norm2, block.norm3)
            )
            and _is_plain(block.attn1)
            and _is_plain(block.attn2)
            and block.attn1.heads == block.attn2.heads
            and type(block.ff.net[0]) in (activations.GEGLU, GEGLU)
            and type(block.ff.net[2]) is nn.Linear
            and block.ff.net[2].bias is not None
            and all(type(layer) is nn.Dropout for layer in block.ff.net[3:])
        )


def _is_plain(attention: Attention) -> bool:
    """Whether it is three linear layers, torch's attention, and one linear layer."""
    layers = (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0])
    extras = (
        attention.group_norm,
        attention.spatial_norm,
        attention.norm_q,
        attention.norm_k,
        attention.norm_cross,
        attention.added_kv_proj_dim,
    )
    return (
        type(attention.processor) is AttnProcessor2_0
        and all(type(layer) is nn.Linear for layer in layers)
        and attention.to_out[0].bias is not None
        and all(extra is None for extra in extras)
        and attention.inner_kv_dim == attention.inner_dim
        and not attention.residual_connection
        and attention.rescale_output_factor == 1.0
    )
