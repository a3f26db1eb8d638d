"""Which products of a UNet's transformer blocks are computed in 8-bit floats.

They are most of a step's operations. Everything else keeps its dtype: convolutions, norms, the
embeddings of time and size, the attention itself, what passes between the blocks, and the keys and
values of a prompt, which are made once for a generation.
"""

from collections.abc import Collection, Iterator
from typing import Literal, get_args

from torch import nn

from leyden_server.accelerator.float8 import Float8Linear, can_be_float8
from leyden_server.accelerator.layer_norm import AddNorm
from leyden_server.denoiser.float8_passes import Float8AddNorm, Float8Gate
from leyden_server.denoiser.transformer_block import TransformerBlock

__all__ = ["PRODUCTS", "Product", "chosen_for", "put_in_float8"]

Product = Literal[
    "self_qkv", "self_out", "cross_q", "cross_out", "feed_forward_in", "feed_forward_out"
]
"""A product of every transformer block; of self-attention's three inputs, all at once."""

PRODUCTS: tuple[Product, ...] = get_args(Product)

LAYERS: dict[str, Product] = {
    "attn1.to_q": "self_qkv",
    "attn1.to_k": "self_qkv",
    "attn1.to_v": "self_qkv",
    "attn1.to_out.0": "self_out",
    "attn2.to_q": "cross_q",
    "attn2.to_out.0": "cross_out",
    "ff.net.0.proj": "feed_forward_in",
    "ff.net.2": "feed_forward_out",
    "qkv": "self_qkv",
    "out1": "self_out",
    "q2": "cross_q",
    "out2": "cross_out",
    "ff_in": "feed_forward_in",
    "ff_out": "feed_forward_out",
}
"""What diffusers calls their layers within a block, and what our own block does."""

BLOCKS = "transformer_blocks"

GATE = "fp8-gate-2026-11-29.json"
"""In benchmarks/results: what `python -m benchmarks.fp8_gate` found, and chose."""

CHOSEN: tuple[tuple[int, frozenset[Product]], ...] = (
    (8, frozenset(("self_qkv", "cross_q", "feed_forward_out"))),
    (4, frozenset(("feed_forward_in",))),
    (1, frozenset(("cross_q",))),
)
"""What passes the gate of `GATE`, for models of so many steps and more. The fewer the steps, the
nearer bfloat16 comes to float32, and the more of that the rounding here would lose."""


def chosen_for(steps: int) -> frozenset[Product]:
    """Return the products that a model of so many steps, by default, has in 8-bit floats."""
    return next(products for least, products in CHOSEN if steps >= least)


def put_in_float8(unet: nn.Module, products: Collection[Product]) -> int:
    """Replace the layers of these products of every transformer block; return how many.

    LoRAs must be in the weights already: what is rounded here nothing can be added to. A layer of a
    width that `Float8Linear` cannot have stays as it is.
    """
    layers = [(name, layer) for name, layer, product in _layers_of(unet) if product in products]
    for name, layer in layers:
        unet.set_submodule(name, Float8Linear(layer))
    for block in unet.modules():
        if isinstance(block, TransformerBlock):
            _let_it_be_rounded_once(block)
    return len(layers)


def _let_it_be_rounded_once(block: TransformerBlock) -> None:
    """Have what comes before a rounded product round for it, where it comes of one pass."""
    for name, product in (("norm1", block.qkv), ("norm2", block.q2), ("norm3", block.ff_in)):
        norm = block.get_submodule(name)
        if isinstance(product, Float8Linear) and isinstance(norm, AddNorm):
            block.set_submodule(name, Float8AddNorm(norm))
    if isinstance(block.ff_out, Float8Linear):
        block.set_submodule("gate", Float8Gate())


def _layers_of(unet: nn.Module) -> Iterator[tuple[str, nn.Linear, Product]]:
    for name, module in unet.named_modules():
        _, is_in_block, within = name.rpartition(f"{BLOCKS}.")
        product = LAYERS.get(within.partition(".")[2]) if is_in_block else None
        if product is not None and type(module) is nn.Linear and can_be_float8(module):
            yield name, module, product
