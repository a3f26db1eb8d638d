"""What the configs of a pipeline's parts may say.

Structure that `unet_layout`, `vae_layout` and `clip_layout` do not know is refused here, so that
a part never runs in another shape than its config asks for. The defaults are those of diffusers'
`UNet2DConditionModel` and `AutoencoderKL` and of transformers' `CLIPTextConfig`.
"""

from pathlib import Path
from typing import Any

from leyden_server.checkpoint.fields import BOOKKEEPING, REQUIRED, Field, Fields, one_of, used
from leyden_server.errors import ModelRepositoryError

__all__ = ["check_text_encoder", "check_unet", "check_vae"]

NUMBERS = used((int, list), what="a whole number or a list of them", default=1)


def _blocks(*kinds: str) -> Field:
    return Field(
        lambda value: isinstance(value, list | tuple) and value != [] and {*value} <= {*kinds},
        f"a list of {' and '.join(kinds)}",
        REQUIRED,
    )


def _is_size(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) == 2 and all(map(_is_count, value))
    return value is None or _is_count(value)


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


WIDTHS = Field(
    lambda value: (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(one, int) and one > 0 for one in value)
    ),
    "a list of whole numbers",
    REQUIRED,
)

UNET = Fields(
    "a UNet",
    {
        "sample_size": Field(_is_size, "a whole number from 1, or two of them"),
        "in_channels": used(int, 4, least=1),
        "out_channels": one_of(4),
        "center_input_sample": one_of(False),
        "flip_sin_to_cos": used(bool, True),
        "freq_shift": used((int, float), 0),
        "down_block_types": _blocks("DownBlock2D", "CrossAttnDownBlock2D"),
        "mid_block_type": one_of("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
        "up_block_types": _blocks("UpBlock2D", "CrossAttnUpBlock2D"),
        "only_cross_attention": one_of(False),
        "block_out_channels": WIDTHS,
        "layers_per_block": used((int, list), 2, what="a whole number or a list of them"),
        "downsample_padding": used(int, 1, least=0),
        "mid_block_scale_factor": used((int, float), 1),
        "dropout": used((int, float), 0.0, least=0),
        "act_fn": used(str, "silu"),
        "norm_num_groups": used(int, 32, least=1),
        "norm_eps": used((int, float), 1e-5),
        "cross_attention_dim": used(int, REQUIRED, least=1),
        "transformer_layers_per_block": NUMBERS,
        "reverse_transformer_layers_per_block": used(list, what="a list of whole numbers"),
        "encoder_hid_dim": one_of(None),
        "encoder_hid_dim_type": one_of(None),
        "attention_head_dim": used((int, list), 8, what="a whole number or a list of them"),
        "num_attention_heads": one_of(None),
        "dual_cross_attention": one_of(False),
        "use_linear_projection": used(bool, False),
        "class_embed_type": one_of(None),
        "addition_embed_type": one_of("text_time"),
        "addition_time_embed_dim": used(int, REQUIRED, least=1),
        "num_class_embeds": one_of(None),
        # null in SDXL's own config, and as good as false to diffusers.
        "upcast_attention": one_of(False, True, None),
        "resnet_time_scale_shift": one_of("default"),
        "resnet_skip_time_act": one_of(False),
        "resnet_out_scale_factor": used((int, float), 1.0),
        "time_embedding_type": one_of("positional"),
        "time_embedding_dim": used(int),
        "time_embedding_act_fn": one_of(None),
        "timestep_post_act": one_of(None),
        "time_cond_proj_dim": used(int),
        "conv_in_kernel": used(int, 3, least=1),
        "conv_out_kernel": used(int, 3, least=1),
        "projection_class_embeddings_input_dim": used(int, REQUIRED, least=1),
        "attention_type": one_of("default"),
        "class_embeddings_concat": one_of(False),
        "mid_block_only_cross_attention": one_of(None, False),
        "cross_attention_norm": one_of(None),
    },
    # The number of heads is for additional embeddings of another type.
    {*BOOKKEEPING, "addition_embed_type_num_heads"},
)

VAE = Fields(
    "a VAE",
    {
        "in_channels": one_of(3),
        "out_channels": one_of(3),
        "down_block_types": _blocks("DownEncoderBlock2D"),
        "up_block_types": _blocks("UpDecoderBlock2D"),
        "block_out_channels": WIDTHS,
        "layers_per_block": used(int, 1, least=1),
        "act_fn": used(str, "silu"),
        "latent_channels": used(int, REQUIRED, least=1),
        "norm_num_groups": used(int, 32, least=1),
        "scaling_factor": used((int, float), 0.18215),
        "shift_factor": one_of(None, 0, 0.0),
        "latents_mean": used(list, what="a list of numbers"),
        "latents_std": used(list, what="a list of numbers"),
        "force_upcast": used(bool, True),
        "use_quant_conv": used(bool, True),
        "use_post_quant_conv": used(bool, True),
        "mid_block_add_attention": used(bool, True),
    },
    # diffusers tiles by sample_size; Leyden by its own grid.
    {*BOOKKEEPING, "sample_size"},
)

# What transformers 4 wrote into every config, whatever the model: settings of text generation, of
# heads that CLIP has not, of exports, and of who made the file.
OF_TRANSFORMERS = [
    "_name_or_path",
    "_commit_hash",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "add_cross_attention",
    "architectures",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
    "model_name",
    "initializer_factor",
    "initializer_range",
]

TEXT_ENCODER = Fields(
    "a text encoder",
    {
        "model_type": one_of("clip_text_model"),
        "vocab_size": used(int, 49408, least=1),
        "hidden_size": used(int, 512, least=1),
        "intermediate_size": used(int, 2048, least=1),
        "projection_dim": used(int, 512, least=1),
        "num_hidden_layers": used(int, 12, least=1),
        "num_attention_heads": used(int, 8, least=1),
        "max_position_embeddings": used(int, REQUIRED, least=1),
        "hidden_act": used(str, "quick_gelu"),
        "layer_norm_eps": used((int, float), 1e-5),
        "attention_dropout": used((int, float), 0.0),
        "dropout": one_of(0.0),
        "pad_token_id": used(int, 1, least=0),
        "bos_token_id": used(int, 49406, least=0),
        "eos_token_id": used(int, 49407, least=0),
        "pruned_heads": one_of({}),
    },
    OF_TRANSFORMERS,
)


def check_unet(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a UNet's config, complete, if the UNet can be served.

    Raises:
        ModelRepositoryError: it cannot; the text says what it is, or which field is in the way.

    """
    _check_class(config, path, "UNet2DConditionModel")
    channels = config.get("in_channels", 4)
    if channels == 9:
        raise ModelRepositoryError(
            f"{path}: in_channels: 9: an inpainting UNet, which reads a mask and a masked image "
            "beside the latents; Leyden serves text to image, of 4 channels"
        )
    if channels == 8:
        raise ModelRepositoryError(
            f"{path}: in_channels: 8: a UNet that edits images (InstructPix2Pix); Leyden serves "
            "text to image, of 4 channels"
        )
    if channels != 4:
        raise ModelRepositoryError(f"{path}: in_channels: 4 is served; got {channels!r}")
    if config.get("addition_embed_type") is None:
        raise ModelRepositoryError(
            f"{path}: addition_embed_type: this UNet is not conditioned on sizes and a pooled "
            "embedding, so it is not SDXL's (Stable Diffusion 1 and 2 are made so)"
        )
    known = UNET.check(config, path)
    _check_lengths(known, path)
    if known["cross_attention_dim"] == 1280 and known["block_out_channels"][0] == 384:
        raise ModelRepositoryError(
            f"{path}: is the UNet of SDXL's refiner, which Leyden does not serve"
        )
    return known


def _check_lengths(config: dict[str, Any], path: Path) -> None:
    blocks = len(config["block_out_channels"])
    for name in ("down_block_types", "up_block_types", *LISTS):
        value = config[name]
        if isinstance(value, list | tuple) and len(value) != blocks:
            raise ModelRepositoryError(
                f"{path}: {name}: one for each of the {blocks} of block_out_channels; got "
                f"{len(value)}"
            )
    layers = config["layers_per_block"]
    layers_of = list(layers) if isinstance(layers, list | tuple) else [layers] * blocks
    for name, counts in (
        ("layers_per_block", [0] * blocks),
        ("attention_head_dim", [0] * blocks),
        ("transformer_layers_per_block", layers_of),
        ("reverse_transformer_layers_per_block", [count + 1 for count in reversed(layers_of)]),
    ):
        value = config[name]
        of_blocks = value if isinstance(value, list | tuple) else [value] * blocks
        for one, count in zip(of_blocks, counts, strict=True):
            several = isinstance(one, list | tuple) and len(one) == count and count > 0
            # A block without attentions may well have a depth of 0.
            least = 0 if name.endswith("transformer_layers_per_block") else 1
            if value is not None and not all(
                _is_count(number, least) for number in (one if several else [one])
            ):
                raise ModelRepositoryError(
                    f"{path}: {name}: whole numbers from {least}; got {value}"
                )


LISTS = (
    "layers_per_block",
    "attention_head_dim",
    "transformer_layers_per_block",
    "reverse_transformer_layers_per_block",
)


def check_vae(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a VAE's config, complete, if the VAE can be served.

    Raises:
        ModelRepositoryError: it cannot; the text says what it is, or which field is in the way.

    """
    if config.get("_class_name") == "AutoencoderTiny":
        raise ModelRepositoryError(
            f"{path}: is a tiny autoencoder (TAESD), whose pictures are rougher than the VAE's; "
            "Leyden serves AutoencoderKL"
        )
    _check_class(config, path, "AutoencoderKL")
    return VAE.check(config, path)


def check_text_encoder(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a text encoder's config, complete, if the encoder can be served.

    Raises:
        ModelRepositoryError: it cannot; the text says which field is in the way.

    """
    _check_quantization(config, path)
    return TEXT_ENCODER.check(config, path)


def _check_class(config: dict[str, Any], path: Path, wanted: str) -> None:
    _check_quantization(config, path)
    found = config.get("_class_name", wanted)
    if found != wanted:
        raise ModelRepositoryError(f"{path}: _class_name: {wanted} is served; got {found!r}")


def _check_quantization(config: dict[str, Any], path: Path) -> None:
    quantization = config.get("quantization_config")
    if quantization is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise ModelRepositoryError(
            f"{path}: quantization_config: the weights are quantised ({method or 'unknown method'}"
            "); Leyden loads float32, float16, bfloat16 and float8 weights"
        )
