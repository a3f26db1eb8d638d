"""The parameters of SDXL's two text encoders (transformers' CLIP), from their configs.

An all-in-one file keeps the first as transformers does, and the second as OpenCLIP does
(`open_clip.model.CLIP`, https://github.com/mlfoundations/open_clip): query, key and value in one
matrix, and the projection transposed.
"""

from collections.abc import Iterable
from typing import Any

from leyden_server.checkpoint.layout import Layout, Parameter, linear, norm

__all__ = ["clip_layout"]


def clip_layout(config: dict[str, Any], *, projection: bool) -> Layout:
    """Return the parameters of a text encoder, with its projection or without.

    Where it has one, the original names are OpenCLIP's, else transformers' own.
    """
    parameters = _text_model(config)
    if projection:
        parameters = _of_open_clip(config, parameters)
    return {parameter.name: parameter for parameter in parameters}


def _text_model(config: dict[str, Any]) -> Iterable[Parameter]:
    width = config.get("hidden_size", 512)
    name = "text_model.embeddings"
    for kind, count in (
        ("token", config.get("vocab_size", 49408)),
        ("position", config.get("max_position_embeddings", 77)),
    ):
        weight = f"{name}.{kind}_embedding.weight"
        yield Parameter(weight, (count, width), weight)
    between = config.get("intermediate_size", 2048)
    for layer in range(config.get("num_hidden_layers", 12)):
        stem = f"text_model.encoder.layers.{layer}"
        for which in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from linear(f"{stem}.self_attn.{which}", width, width)
        yield from norm(f"{stem}.layer_norm1", width)
        yield from linear(f"{stem}.mlp.fc1", between, width)
        yield from linear(f"{stem}.mlp.fc2", width, between)
        yield from norm(f"{stem}.layer_norm2", width)
    yield from norm("text_model.final_layer_norm", width)


OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
THIRDS = {"self_attn.q_proj": 0, "self_attn.k_proj": 1, "self_attn.v_proj": 2}
LAYERS = "text_model.encoder.layers."


def _of_open_clip(config: dict[str, Any], parameters: Iterable[Parameter]) -> Iterable[Parameter]:
    for parameter in parameters:
        name, shape = parameter.name, parameter.shape
        if name in OPEN_CLIP:
            yield Parameter(name, shape, OPEN_CLIP[name])
            continue
        layer, _, rest = name.removeprefix(LAYERS).partition(".")
        module, _, kind = rest.rpartition(".")
        stem = f"transformer.resblocks.{layer}"
        if module in THIRDS:
            original = f"{stem}.attn.in_proj_{kind}"
            yield Parameter(name, shape, original, third=THIRDS[module])
        else:
            yield Parameter(name, shape, f"{stem}.{OPEN_CLIP_LAYER[module]}.{kind}")
    shape = (config.get("projection_dim", 512), config.get("hidden_size", 512))
    yield Parameter("text_projection.weight", shape, "text_projection", transposed=True)
