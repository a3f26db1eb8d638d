"""Writes tiny SDXL folders with random weights, for tests that compare with stock diffusers.

The weights are random but calibrated: the UNet predicts noise of about unit variance, prompts and
timesteps change the picture visibly, and the VAE decodes to pixels which are neither constant nor
clipped. On a grey or saturated picture any two pipelines agree, and a comparison proves nothing.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import safetensors.torch
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

# SDXL gives the UNet six sizes (add_time_ids), each embedded at this width.
ADDITION_TIME_EMBED_DIM = 8
SDXL_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "trailing",
    "prediction_type": "epsilon",
}
CALIBRATION_PROMPT = "a red mountain over a calm lake at dawn"


def write_random_sdxl(
    folder: Path,
    *,
    tokenizer_from: Path,
    seed: int = 0,
    sample_size: int = 8,
    block_out_channels: Sequence[int] = (32, 64),
    layers_per_block: int = 1,
    transformer_layers_per_block: int | Sequence[int] = 1,
    attention_head_dim: int | Sequence[int] = 4,
    text_encoder_width: int = 32,
    text_encoder_2_width: int = 48,
    vae_block_out_channels: Sequence[int] = (8, 16, 16, 16),
    mid_block_add_attention: bool = True,
    time_cond_proj_dim: int | None = None,
    scaling_factor: float = 0.13025,
    scheduler_class: str = "EulerDiscreteScheduler",
    scheduler_overrides: Mapping[str, Any] | None = None,
    force_zeros_for_empty_prompt: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Writes a `StableDiffusionXLPipeline` folder with safetensors weights; returns the folder.

    `tokenizer_from` is an SDXL folder whose two tokenizers are copied. `sample_size` is the native
    side of the latents; a pixel side is that times 2^(len(vae_block_out_channels) - 1).
    `attention_head_dim` is diffusers' name for what is the number of heads here.
    With `time_cond_proj_dim` the UNet reads the guidance scale, embedded at that width.
    `scheduler_overrides` are laid over SDXL's own noise schedule with trailing spacing. The seed
    decides every weight.
    """
    transformers.utils.logging.disable_progress_bar()
    tokenizers = [
        CLIPTokenizer.from_pretrained(tokenizer_from / name)
        for name in ("tokenizer", "tokenizer_2")
    ]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            _text_config(tokenizers[0], text_encoder_width, hidden_act="quick_gelu")
        )
        text_encoder_2 = CLIPTextModelWithProjection(
            _text_config(tokenizers[1], text_encoder_2_width, hidden_act="gelu")
        )
        pipeline = StableDiffusionXLPipeline(
            tokenizer=tokenizers[0],
            tokenizer_2=tokenizers[1],
            text_encoder=text_encoder.eval(),
            text_encoder_2=text_encoder_2.eval(),
            unet=_random_unet(
                sample_size=sample_size,
                block_out_channels=tuple(block_out_channels),
                layers_per_block=layers_per_block,
                transformer_layers_per_block=transformer_layers_per_block,
                attention_head_dim=attention_head_dim,
                time_cond_proj_dim=time_cond_proj_dim,
                cross_attention_dim=text_encoder_width + text_encoder_2_width,
                pooled_dim=text_encoder_2_width,
            ),
            vae=_random_vae(
                block_out_channels=tuple(vae_block_out_channels),
                sample_size=sample_size * 2 ** (len(vae_block_out_channels) - 1),
                mid_block_add_attention=mid_block_add_attention,
                scaling_factor=scaling_factor,
            ),
            scheduler=getattr(diffusers, scheduler_class)(
                **{**SDXL_SCHEDULER, **(scheduler_overrides or {})}
            ),
            force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
            add_watermarker=False,
        )
        _calibrate_text_encoders(pipeline)
        _calibrate_unet(pipeline)
        _calibrate_vae(pipeline)
    if dtype != torch.float32:
        pipeline.to(dtype=dtype)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def write_random_unet_file(
    path: Path, *, model_dir: Path, seed: int, time_cond_proj_dim: int | None = None
) -> Path:
    """Writes a UNet of the model's shape with other weights, as one file to be laid over it.

    SDXL-Lightning's checkpoints come so: a state dict in safetensors, without a config. With
    `time_cond_proj_dim` it reads the guidance scale, as LCM-SDXL's does, whatever the model's does.
    """
    unet = UNet2DConditionModel.from_pretrained(
        model_dir, subfolder="unet", dtype=torch.float32, use_safetensors=True
    )
    conv_out_std = {name: weight.std() for name, weight in unet.conv_out.named_parameters()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        width = time_cond_proj_dim or unet.config.time_cond_proj_dim
        other = UNet2DConditionModel.from_config(unet.config, time_cond_proj_dim=width)
        _strengthen_conditioning(other)
        for name, weight in other.conv_out.named_parameters():
            weight.mul_(conv_out_std[name] / weight.std())
    safetensors.torch.save_file(other.state_dict(), path)
    return path


def _text_config(tokenizer: Any, width: int, *, hidden_act: str) -> Any:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=77,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act=hidden_act,
    )


def _random_unet(
    *, block_out_channels: tuple[int, ...], cross_attention_dim: int, pooled_dim: int, **shape: Any
) -> Any:
    crossed = len(block_out_channels) - 1  # As in SDXL, the first block has no attention.
    unet = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=block_out_channels,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * crossed),
        up_block_types=(*["CrossAttnUpBlock2D"] * crossed, "UpBlock2D"),
        cross_attention_dim=cross_attention_dim,
        norm_num_groups=_norm_num_groups(block_out_channels),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=ADDITION_TIME_EMBED_DIM,
        projection_class_embeddings_input_dim=pooled_dim + 6 * ADDITION_TIME_EMBED_DIM,
        **shape,
    )
    _strengthen_conditioning(unet)
    return unet.eval()


def _random_vae(*, block_out_channels: tuple[int, ...], **shape: Any) -> Any:
    blocks = len(block_out_channels)
    vae = AutoencoderKL(
        block_out_channels=block_out_channels,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=_norm_num_groups(block_out_channels),
        force_upcast=False,
        **shape,
    )
    return vae.eval()


def _norm_num_groups(widths: Sequence[int]) -> int:
    """Returns a number of groups that divides every width, with two channels or more in each."""
    return min(32, math.gcd(*widths) // 2)


def _strengthen_conditioning(unet: Any) -> None:
    """Makes text, sizes and timestep count: with default initialisation they hardly do."""
    gains = {
        "attn2.to_q": 4,
        "attn2.to_k": 4,
        "attn2.to_v": 4,
        "attn2.to_out.0": 4,
        "time_emb_proj": 4,
        "add_embedding.linear_2": 4,
        "time_embedding.linear_2": 6,
        "time_embedding.cond_proj": 6,
    }
    for name, module in unet.named_modules():
        for suffix, gain in gains.items():
            if name.endswith(suffix):
                module.weight.mul_(gain)


def _calibrate_text_encoders(pipeline: Any) -> None:
    """Brings what the UNet reads, the penultimate hidden states, to about unit variance."""
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        input_ids = tokenizer(
            CALIBRATION_PROMPT, padding="max_length", max_length=77, return_tensors="pt"
        ).input_ids
        for _ in range(3):
            std = encoder(input_ids, output_hidden_states=True).hidden_states[-2].std()
            encoder.get_input_embeddings().weight.div_(std)
    pooled = pipeline.text_encoder_2(input_ids).text_embeds
    pipeline.text_encoder_2.text_projection.weight.div_(pooled.std())


def _calibrate_unet(pipeline: Any) -> None:
    """Brings the predicted noise to about unit variance."""
    predictions: list[torch.Tensor] = []
    hook = pipeline.unet.register_forward_hook(
        lambda _module, _inputs, outputs: predictions.append(outputs[0])
    )
    _sample_latents(pipeline)
    hook.remove()
    for parameter in pipeline.unet.conv_out.parameters():
        parameter.div_(torch.cat(predictions).std())


def _calibrate_vae(pipeline: Any) -> None:
    """Brings decoded pixels, which are clipped at -1 and 1, to mean 0 and deviation 0.3."""
    vae = pipeline.vae
    latents = _sample_latents(pipeline) / vae.config.scaling_factor
    conv_out = vae.decoder.conv_out
    pixels = vae.decode(latents).sample
    conv_out.weight.mul_(0.3 / pixels.std())
    conv_out.bias.zero_()
    conv_out.bias.sub_(vae.decode(latents).sample.mean(dim=(0, 2, 3)))


def _sample_latents(pipeline: Any) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    latents: torch.Tensor = pipeline(
        CALIBRATION_PROMPT,
        num_inference_steps=4,
        guidance_scale=1.0,
        num_images_per_prompt=2,
        generator=[torch.Generator().manual_seed(seed) for seed in range(2)],
        output_type="latent",
    ).images
    return latents
