"""The parameters of an SDXL VAE (diffusers' `AutoencoderKL`), from its config.

The original names are those of `ldm.modules.diffusionmodules.model` (CompVis), which Stability AI's
`generative-models` keeps. Its up blocks count from the smallest size down to the largest.
"""

from collections.abc import Iterable
from typing import Any

from leyden_server.checkpoint.layout import Layout, Parameter, conv, linear, norm

__all__ = ["vae_layout"]


def vae_layout(config: dict[str, Any]) -> Layout:
    """Return the parameters of a VAE whose config `config_fields.check_vae` has let through."""
    return {parameter.name: parameter for parameter in _parameters(config)}


def _parameters(config: dict[str, Any]) -> Iterable[Parameter]:
    latents = config.get("latent_channels", 4)
    yield from _encoder(config, latents)
    if config.get("use_quant_conv", True):
        yield from conv("quant_conv", 2 * latents, 2 * latents, 1)
    if config.get("use_post_quant_conv", True):
        yield from conv("post_quant_conv", latents, latents, 1)
    yield from _decoder(config, latents)


def _encoder(config: dict[str, Any], latents: int) -> Iterable[Parameter]:
    widths = config["block_out_channels"]
    yield from conv("encoder.conv_in", widths[0], config.get("in_channels", 3), 3)
    width = widths[0]
    for block, out in enumerate(widths):
        name, original = f"encoder.down_blocks.{block}", f"encoder.down.{block}"
        for layer in range(config.get("layers_per_block", 1)):
            yield from _resnet(f"{name}.resnets.{layer}", width, out, f"{original}.block.{layer}")
            width = out
        if block < len(widths) - 1:
            yield from conv(
                f"{name}.downsamplers.0.conv", out, out, 3, f"{original}.downsample.conv"
            )
    yield from _middle("encoder", widths[-1], config)
    yield from norm("encoder.conv_norm_out", widths[-1], "encoder.norm_out")
    yield from conv("encoder.conv_out", 2 * latents, widths[-1], 3)


def _decoder(config: dict[str, Any], latents: int) -> Iterable[Parameter]:
    widths = list(reversed(config["block_out_channels"]))
    yield from conv("decoder.conv_in", widths[0], latents, 3)
    yield from _middle("decoder", widths[0], config)
    width = widths[0]
    for block, out in enumerate(widths):
        name, original = f"decoder.up_blocks.{block}", f"decoder.up.{len(widths) - 1 - block}"
        for layer in range(config.get("layers_per_block", 1) + 1):
            yield from _resnet(f"{name}.resnets.{layer}", width, out, f"{original}.block.{layer}")
            width = out
        if block < len(widths) - 1:
            yield from conv(f"{name}.upsamplers.0.conv", out, out, 3, f"{original}.upsample.conv")
    yield from norm("decoder.conv_norm_out", widths[-1], "decoder.norm_out")
    yield from conv("decoder.conv_out", config.get("out_channels", 3), widths[-1], 3)


def _middle(side: str, width: int, config: dict[str, Any]) -> Iterable[Parameter]:
    name, original = f"{side}.mid_block", f"{side}.mid"
    yield from _resnet(f"{name}.resnets.0", width, width, f"{original}.block_1")
    if config.get("mid_block_add_attention", True):
        attention = f"{name}.attentions.0"
        yield from norm(f"{attention}.group_norm", width, f"{original}.attn_1.norm")
        # The original's are convolutions of 1 x 1: the same numbers with two more axes.
        for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
            yield from linear(f"{attention}.{ours}", width, width, f"{original}.attn_1.{theirs}")
    yield from _resnet(f"{name}.resnets.1", width, width, f"{original}.block_2")


def _resnet(name: str, into: int, out: int, original: str) -> Iterable[Parameter]:
    yield from norm(f"{name}.norm1", into, f"{original}.norm1")
    yield from conv(f"{name}.conv1", out, into, 3, f"{original}.conv1")
    yield from norm(f"{name}.norm2", out, f"{original}.norm2")
    yield from conv(f"{name}.conv2", out, out, 3, f"{original}.conv2")
    if into != out:
        yield from conv(f"{name}.conv_shortcut", out, into, 1, f"{original}.nin_shortcut")
