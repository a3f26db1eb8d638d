"""The config that a part's tensors themselves tell, for files that come without one.

It has what the layouts need and nothing else: numbers of attention heads, say, no tensor tells.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from leyden_server.checkpoint.safetensors_file import SafetensorsFile

__all__ = ["clip_config_of", "unet_config_of", "vae_config_of"]


class _Names:
    """The shapes of a part's tensors, by their names without the part's prefix."""

    def __init__(self, file: SafetensorsFile, prefix: str) -> None:
        self.shapes: Mapping[str, tuple[int, ...]] = {
            tensor.name.removeprefix(prefix): tensor.shape
            for tensor in file
            if tensor.name.startswith(prefix)
        }

    def has(self, name: str) -> bool:
        return name in self.shapes

    def out(self, name: str, default: int = 0) -> int:
        return self._side(name, 0, default)

    def into(self, name: str, default: int = 0) -> int:
        return self._side(name, 1, default)

    def count(self, stem: str) -> int:
        """Return one more than the highest number that stands after `stem`."""
        pattern = re.compile(re.escape(stem) + r"(\d+)\.")
        found = [int(match[1]) for name in self.shapes if (match := pattern.match(name))]
        return max(found, default=-1) + 1

    def any_of(self, ending: str) -> tuple[int, ...] | None:
        return next((s for name, s in self.shapes.items() if name.endswith(ending)), None)

    def _side(self, name: str, axis: int, default: int) -> int:
        shape = self.shapes.get(name, ())
        return shape[axis] if len(shape) > axis else default


def unet_config_of(file: SafetensorsFile, prefix: str, *, original: bool) -> dict[str, Any]:
    """Return what the tensors of a UNet say of its config, in either naming."""
    names = _Names(file, prefix)
    blocks = list(_original_blocks(names) if original else _blocks(names))
    crossed = ["CrossAttn" if depth is not None else "" for _, _, depth in blocks]
    cross = names.any_of("attn2.to_k.weight")
    proj_in = names.any_of("proj_in.weight")
    first, added, timed = (
        ("input_blocks.0.0.weight", "label_emb.0.0.weight", "time_embed.0.weight")
        if original
        else ("conv_in.weight", "add_embedding.linear_1.weight", "time_embedding.linear_1.weight")
    )
    cond = "time_embed.cond_proj.weight" if original else "time_embedding.cond_proj.weight"
    depths = [depth or 1 for _, _, depth in blocks]
    return {
        "in_channels": names.into(first, 4),
        "block_out_channels": [width for width, _, _ in blocks] or [names.out(first)],
        "layers_per_block": [layers for _, layers, _ in blocks] or [1],
        "down_block_types": [f"{kind}DownBlock2D" for kind in crossed] or ["DownBlock2D"],
        "up_block_types": [f"{kind}UpBlock2D" for kind in reversed(crossed)] or ["UpBlock2D"],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "transformer_layers_per_block": depths or [1],
        "cross_attention_dim": cross[1] if cross and len(cross) > 1 else 2048,
        "use_linear_projection": proj_in is None or len(proj_in) == 2,
        "projection_class_embeddings_input_dim": names.into(added, 2816),
        "time_embedding_dim": names.out(timed) or None,
        "time_cond_proj_dim": names.into(cond) if names.has(cond) else None,
    }


_Block = tuple[int, int, int | None]
"""Channels, resnets, and transformer blocks of each attention, where it has attentions."""


def _blocks(names: _Names) -> Iterable[_Block]:
    for block in range(names.count("down_blocks.")):
        stem = f"down_blocks.{block}"
        depth = names.count(f"{stem}.attentions.0.transformer_blocks.")
        crossed = names.has(f"{stem}.attentions.0.norm.weight")
        width = names.out(f"{stem}.resnets.0.conv1.weight")
        yield width, names.count(f"{stem}.resnets."), depth if crossed else None


def _original_blocks(names: _Names) -> Iterable[_Block]:
    width, layers, depth = 0, 0, None
    for place in range(1, names.count("input_blocks.")):
        stem = f"input_blocks.{place}"
        if names.has(f"{stem}.0.op.weight"):
            yield width, layers, depth
            width, layers, depth = 0, 0, None
            continue
        width = names.out(f"{stem}.0.in_layers.2.weight", width)
        layers += 1
        if names.has(f"{stem}.1.norm.weight"):
            depth = names.count(f"{stem}.1.transformer_blocks.")
    if layers:
        yield width, layers, depth


def vae_config_of(file: SafetensorsFile, prefix: str, *, original: bool) -> dict[str, Any]:
    """Return what the tensors of a VAE say of its config, in either naming."""
    names = _Names(file, prefix)
    down, resnets, conv1 = (
        ("encoder.down.", "block.", "block.0.conv1.weight")
        if original
        else ("encoder.down_blocks.", "resnets.", "resnets.0.conv1.weight")
    )
    attention = (
        "decoder.mid.attn_1.norm.weight"
        if original
        else ("decoder.mid_block.attentions.0.group_norm.weight")
    )
    blocks = names.count(down)
    return {
        "block_out_channels": [names.out(f"{down}{block}.{conv1}") for block in range(blocks)]
        or [names.out("decoder.conv_in.weight")],
        "layers_per_block": names.count(f"{down}0.{resnets}") or 1,
        "latent_channels": names.into("decoder.conv_in.weight", 4),
        "mid_block_add_attention": names.has(attention),
        "use_quant_conv": names.has("quant_conv.weight"),
        "use_post_quant_conv": names.has("post_quant_conv.weight"),
    }


def clip_config_of(file: SafetensorsFile, prefix: str, *, open_clip: bool) -> dict[str, Any]:
    """Return what the tensors of a text encoder say of its config, in either naming."""
    names = _Names(file, prefix)
    stem = "" if names.has("embeddings.token_embedding.weight") else "text_model."
    token, position, layers, fc1, projection = (
        (
            "token_embedding.weight",
            "positional_embedding",
            "transformer.resblocks.",
            "mlp.c_fc.weight",
            names.into("text_projection"),
        )
        if open_clip
        else (
            f"{stem}embeddings.token_embedding.weight",
            f"{stem}embeddings.position_embedding.weight",
            f"{stem}encoder.layers.",
            "mlp.fc1.weight",
            names.out("text_projection.weight"),
        )
    )
    width = names.into(token)
    return {
        "vocab_size": names.out(token, 49408),
        "hidden_size": width,
        "max_position_embeddings": names.out(position, 77),
        "num_hidden_layers": names.count(layers),
        "intermediate_size": names.out(f"{layers}0.{fc1}", 4 * width),
        "projection_dim": projection or width,
    }
