"""The parameters of an SDXL UNet, from its config.

The structure is that of diffusers' `UNet2DConditionModel`, the original names are those of
Stability AI's `generative-models` (`sgm.modules.diffusionmodules.openaimodel.UNetModel`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from leyden_server.checkpoint.layout import Layout, Parameter, conv, linear, norm

__all__ = ["unet_layout"]

Depths = Sequence[int]
"""How many transformer blocks each attention of a block has."""


def unet_layout(config: dict[str, Any]) -> Layout:
    """Return the parameters of a UNet whose config `config_fields.check_unet` has let through."""
    return {parameter.name: parameter for parameter in _Unet(config).parameters()}


class _Unet:
    def __init__(self, config: dict[str, Any]) -> None:
        widths = list(config["block_out_channels"])
        blocks = len(widths)
        self.widths = widths
        self.layers = _for_each(config.get("layers_per_block", 2), blocks)
        self.depths = _for_each(config.get("transformer_layers_per_block", 1), blocks)
        reverse = config.get("reverse_transformer_layers_per_block")
        self.up_depths = list(reversed(self.depths)) if reverse is None else list(reverse)
        self.cross = config["cross_attention_dim"]
        self.time = config.get("time_embedding_dim") or 4 * widths[0]
        self.linear_projection = bool(config.get("use_linear_projection", False))
        self.config = config

    def parameters(self) -> Iterable[Parameter]:
        config, first = self.config, self.widths[0]
        yield from conv(
            "conv_in",
            first,
            config.get("in_channels", 4),
            config.get("conv_in_kernel", 3),
            "input_blocks.0.0",
        )
        yield from linear("time_embedding.linear_1", self.time, first, "time_embed.0")
        if config.get("time_cond_proj_dim") is not None:
            yield from linear(
                "time_embedding.cond_proj",
                first,
                config["time_cond_proj_dim"],
                "time_embed.cond_proj",
                bias=False,
            )
        yield from linear("time_embedding.linear_2", self.time, self.time, "time_embed.2")
        added = config["projection_class_embeddings_input_dim"]
        yield from linear("add_embedding.linear_1", self.time, added, "label_emb.0.0")
        yield from linear("add_embedding.linear_2", self.time, self.time, "label_emb.0.2")
        yield from self._down()
        yield from self._middle()
        yield from self._up()
        yield from norm("conv_norm_out", first, "out.0")
        yield from conv(
            "conv_out",
            config.get("out_channels", 4),
            first,
            config.get("conv_out_kernel", 3),
            "out.2",
        )

    def _down(self) -> Iterable[Parameter]:
        width, place = self.widths[0], 1
        for block, out in enumerate(self.widths):
            crossed = self.config["down_block_types"][block] == "CrossAttnDownBlock2D"
            depths = _for_each(self.depths[block], self.layers[block])
            for layer in range(self.layers[block]):
                stem = f"down_blocks.{block}"
                yield from self._resnet(
                    f"{stem}.resnets.{layer}", width, out, f"input_blocks.{place}.0"
                )
                if crossed:
                    yield from self._attention(
                        f"{stem}.attentions.{layer}",
                        out,
                        depths[layer],
                        f"input_blocks.{place}.1",
                    )
                width, place = out, place + 1
            if block < len(self.widths) - 1:
                yield from conv(
                    f"down_blocks.{block}.downsamplers.0.conv",
                    out,
                    out,
                    3,
                    f"input_blocks.{place}.0.op",
                )
                place += 1

    def _middle(self) -> Iterable[Parameter]:
        width = self.widths[-1]
        yield from self._resnet("mid_block.resnets.0", width, width, "middle_block.0")
        if self.config.get("mid_block_type") == "UNetMidBlock2DCrossAttn":
            depth = _for_each(self.depths[-1], 1)[0]
            yield from self._attention("mid_block.attentions.0", width, depth, "middle_block.1")
            yield from self._resnet("mid_block.resnets.1", width, width, "middle_block.2")

    def _up(self) -> Iterable[Parameter]:
        widths, place = list(reversed(self.widths)), 0
        layers_of = list(reversed(self.layers))
        previous = widths[0]
        for block, out in enumerate(widths):
            crossed = self.config["up_block_types"][block] == "CrossAttnUpBlock2D"
            skip_of_last = widths[min(block + 1, len(widths) - 1)]
            layers = layers_of[block] + 1
            depths = _for_each(self.up_depths[block], layers)
            last = block == len(widths) - 1
            for layer in range(layers):
                into = previous if layer == 0 else out
                skip = skip_of_last if layer == layers - 1 else out
                stem = f"up_blocks.{block}"
                yield from self._resnet(
                    f"{stem}.resnets.{layer}", into + skip, out, f"output_blocks.{place}.0"
                )
                if crossed:
                    yield from self._attention(
                        f"{stem}.attentions.{layer}",
                        out,
                        depths[layer],
                        f"output_blocks.{place}.1",
                    )
                if not last and layer == layers - 1:
                    yield from conv(
                        f"{stem}.upsamplers.0.conv",
                        out,
                        out,
                        3,
                        f"output_blocks.{place}.{2 if crossed else 1}.conv",
                    )
                place += 1
            previous = out

    def _resnet(self, name: str, into: int, out: int, original: str) -> Iterable[Parameter]:
        yield from norm(f"{name}.norm1", into, f"{original}.in_layers.0")
        yield from conv(f"{name}.conv1", out, into, 3, f"{original}.in_layers.2")
        yield from linear(f"{name}.time_emb_proj", out, self.time, f"{original}.emb_layers.1")
        yield from norm(f"{name}.norm2", out, f"{original}.out_layers.0")
        yield from conv(f"{name}.conv2", out, out, 3, f"{original}.out_layers.3")
        if into != out:
            yield from conv(f"{name}.conv_shortcut", out, into, 1, f"{original}.skip_connection")

    def _attention(self, name: str, width: int, depth: int, original: str) -> Iterable[Parameter]:
        yield from norm(f"{name}.norm", width, f"{original}.norm")
        yield from self._projection(f"{name}.proj_in", width, f"{original}.proj_in")
        for index in range(depth):
            block = f"transformer_blocks.{index}"
            for parameter in _transformer(width, self.cross):
                yield Parameter(
                    f"{name}.{block}.{parameter.name}",
                    parameter.shape,
                    f"{original}.{block}.{parameter.original}",
                )
        yield from self._projection(f"{name}.proj_out", width, f"{original}.proj_out")

    def _projection(self, name: str, width: int, original: str) -> Iterable[Parameter]:
        if self.linear_projection:
            return linear(name, width, width, original)
        return conv(name, width, width, 1, original)


def _transformer(width: int, cross: int) -> Iterable[Parameter]:
    yield from norm("norm1", width)
    for attention, context in (("attn1", width), ("attn2", cross)):
        yield from linear(f"{attention}.to_q", width, width, bias=False)
        yield from linear(f"{attention}.to_k", width, context, bias=False)
        yield from linear(f"{attention}.to_v", width, context, bias=False)
        yield from linear(f"{attention}.to_out.0", width, width)
        yield from norm("norm2" if attention == "attn1" else "norm3", width)
    yield from linear("ff.net.0.proj", 8 * width, width)
    yield from linear("ff.net.2", width, 4 * width)


def _for_each(value: Any, count: int) -> list[Any]:
    """Return one value for each of `count`, as diffusers spreads a number over blocks."""
    return list(value) if isinstance(value, list | tuple) else [value] * count
