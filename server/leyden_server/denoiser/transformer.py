"""diffusers' Transformer2DModel on images that stay channels last, and a prompt's keys and values.

Tokens are an image's pixels as they lie channels last, so neither end of a transformer moves any.
diffusers copies them into another layout at the end, which the next norm or convolution undoes.

What cross-attention reads depends on the prompt alone. All blocks' keys and values of it are one
product, made once for a generation, and the UNet gets them in place of the embeddings.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from diffusers import Transformer2DModel, UNet2DConditionModel
from torch import nn

from leyden_server.accelerator.linear import joined
from leyden_server.denoiser.summing_products import products_should_sum
from leyden_server.denoiser.transformer_block import TransformerBlock

__all__ = ["Transformer", "replace_transformers"]


def replace_transformers(unet: UNet2DConditionModel) -> nn.Module:
    """Put transformers of ours, with the same weights, in the place of those of `unet`.

    Returns what makes of prompt_embeds (B, T, D) that which the UNet then takes as
    `encoder_hidden_states`, (B, T, W) in the same dtype: keys and values of all blocks side by
    side. For SDXL's 70 blocks W is 166,400, and of 77 tokens in half precision they are 25.6 MB.

    Where one of the transformers is not as SDXL's, all stay what they are, and so do the
    embeddings.
    """
    names = [
        name for name, module in unet.named_modules() if isinstance(module, Transformer2DModel)
    ]
    if not names or not all(Transformer.is_known(unet.get_submodule(name)) for name in names):
        return nn.Identity()
    columns = sum(
        product.out_features for name in names for product in _of_prompts(unet.get_submodule(name))
    )
    return joined(_taken_over(unet, names), columns)


def _taken_over(unet: UNet2DConditionModel, names: Sequence[str]) -> Iterator[nn.Linear]:
    """Yield what makes a prompt's keys and values, and replace each transformer after its own.

    What is left of it goes before the next is taken: the weights are never there twice.
    """
    first_column = 0
    for name in names:
        transformer = unet.get_submodule(name)
        yield from _of_prompts(transformer)
        unet.set_submodule(name, Transformer(transformer, first_column))
        first_column += sum(product.out_features for product in _of_prompts(transformer))


def _of_prompts(transformer: Transformer2DModel) -> Iterator[nn.Linear]:
    for block in transformer.transformer_blocks:
        yield block.attn2.to_k
        yield block.attn2.to_v


class Transformer(nn.Module):
    """A transformer with diffusers' weights; for inference alone."""

    def __init__(self, transformer: Transformer2DModel, first_column: int) -> None:
        """Take over the weights of a transformer that `is_known`.

        `first_column`: where the keys of its first block begin in what `forward` gets; the values
        follow, then those of the next block.
        """
        super().__init__()
        self.norm: nn.Module = transformer.norm
        self.proj_in, self.proj_out = map(_as_linear, (transformer.proj_in, transformer.proj_out))
        blocks: list[TransformerBlock] = []
        lacking = torch.zeros_like(self.proj_in.bias, dtype=torch.float32)
        for block in transformer.transformer_blocks:
            blocks.append(TransformerBlock(block, first_column, lacking))
            first_column += 2 * block.attn2.inner_dim
            lacking = blocks[-1].lacking[-1]
        self.transformer_blocks = nn.ModuleList(blocks)
        bias = self.proj_out.bias + self.proj_out.weight.float() @ lacking
        self.whole_bias: torch.Tensor
        """(C,): what is left to add where the blocks have added to the stream themselves."""
        self.register_buffer("whole_bias", bias.detach().to(self.proj_out.bias), persistent=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        encoder_hidden_states: torch.Tensor,
        cross_attention_kwargs: None = None,
        attention_mask: None = None,
        encoder_attention_mask: None = None,
        return_dict: bool = False,
    ) -> tuple[torch.Tensor]:
        """Return (B, C, H, W), channels last, of hidden_states (B, C, H, W).

        `encoder_hidden_states` (B, T, W): the prompt's keys and values. The others are what
        diffusers' UNet passes on; Leyden gives it none of them.
        """
        height, width = hidden_states.shape[2:]
        stream = self.proj_in(self.norm(hidden_states).permute(0, 2, 3, 1).flatten(1, 2))
        blocks: Iterable[Any] = self.transformer_blocks
        by_products = all(block.can_add for block in blocks) and products_should_sum(stream)
        run = self.by_products if by_products else self.by_norms
        tokens = run(stream, encoder_hidden_states)
        image = tokens.reshape(tokens.shape[0], height, width, -1).permute(0, 3, 1, 2)
        return (image + hidden_states,)

    def by_norms(self, stream: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, N, C): what a block gives is added by the norm that comes next."""
        delta: torch.Tensor | None = None
        for block in self.transformer_blocks:
            delta = block(stream, delta, keys_values)
        tokens: torch.Tensor = self.proj_out(stream if delta is None else stream + delta)
        return tokens

    def by_products(self, stream: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """Return the same: what a block gives is added by its products."""
        blocks: Iterable[Any] = self.transformer_blocks
        for block in blocks:
            block.add_to(stream, keys_values)
        return F.linear(stream, self.proj_out.weight, self.whole_bias)

    @staticmethod
    def is_known(transformer: Transformer2DModel) -> bool:
        """Whether a transformer computes what `forward` does: SDXL's do, and those of its kin."""
        return (
            transformer.is_input_continuous
            and all(
                type(layer) in (nn.Linear, nn.Conv2d)
                for layer in (transformer.proj_in, transformer.proj_out)
            )
            and all(map(TransformerBlock.is_known, transformer.transformer_blocks))
        )


def _as_linear(layer: nn.Linear | nn.Conv2d) -> nn.Linear:
    """Return a convolution of single pixels as what it is to tokens."""
    if isinstance(layer, nn.Linear):
        return layer
    linear = nn.Linear(layer.in_channels, layer.out_channels, device="meta")
    linear.weight = nn.Parameter(layer.weight.detach().flatten(1), requires_grad=False)
    assert layer.bias is not None, "as diffusers builds it"
    linear.bias = nn.Parameter(layer.bias.detach(), requires_grad=False)
    return linear
