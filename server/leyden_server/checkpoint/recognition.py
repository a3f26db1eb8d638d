"""What a weight file is, told from the names and shapes of its tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from leyden_server.checkpoint.lora_names import kind_not_served, stem_and_role
from leyden_server.checkpoint.safetensors_file import SafetensorsFile

__all__ = ["FileKind", "Recognised", "recognise"]

FileKind = Literal[
    "checkpoint", "unet", "vae", "text_encoder", "lora", "textual_inversion", "other"
]
"""`checkpoint`: an all-in-one file. `other`: nothing that a model of ours is made of."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file was taken for."""

    kind: FileKind
    what: str
    """In words, with its article: an all-in-one SDXL checkpoint."""
    refused: str = ""
    """Why it cannot be served, where it cannot."""
    prefix: str = ""
    """What stands before the UNet's names, in a `checkpoint` or a `unet`."""
    original: bool = False
    """Whether the UNet's or VAE's names are the original layout's, not diffusers'."""


UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "unet.", "")
FIRST_ENCODERS = ("conditioner.embedders.0.transformer.", "conditioner.embedders.0.model.")
SECOND_ENCODER = "conditioner.embedders.1.model."
VAE = "first_stage_model."

OTHER_FAMILIES: Mapping[str, str] = {
    "double_blocks.": "a FLUX model",
    "joint_blocks.": "a Stable Diffusion 3 model",
    "joint_transformer_blocks.": "an AuraFlow model",
    "cap_embedder.": "a Lumina model",
    "transformer_blocks.0.attn.add_q_proj": "a Stable Diffusion 3 or FLUX model",
    "single_transformer_blocks.": "a FLUX model",
    "adaln_single.": "a PixArt model",
    "caption_projection.": "a PixArt model",
    "down_blocks.0.0.channelwise.": "a Stable Cascade model",
    "clip_txt_mapper.": "a Stable Cascade model",
    "image_proj.": "an IP-Adapter",
    "ip_adapter.": "an IP-Adapter",
    "input_hint_block.": "a ControlNet",
    "controlnet_cond_embedding.": "a ControlNet",
    "controlnet_mid_block.": "a ControlNet",
    "motion_modules.": "an AnimateDiff motion module",
    "encoder.block.0.layer.": "a T5 text encoder",
    "vision_model.": "a CLIP vision encoder",
}
"""What the beginning of a tensor's name, anywhere after a prefix, gives away."""


def recognise(file: SafetensorsFile) -> Recognised:
    """Return what the file is. Never fails: what is not known is `other`."""
    for look in (
        _empty,
        _lora,
        _embedding,
        _checkpoint,
        _other_family,
        _unet,
        _parts,
        _other_adapter,
    ):
        found = look(file)
        if found is not None:
            return found
    names = ", ".join(list(file.tensors)[:3])
    return Recognised(
        "other", "a file that Leyden does not recognise", f"its first tensors are {names}"
    )


def _empty(file: SafetensorsFile) -> Recognised | None:
    return None if file.tensors else Recognised("other", "an empty file", "it has no tensors")


def _lora(file: SafetensorsFile) -> Recognised | None:
    if not any(stem_and_role(name) for name in file.tensors):
        return None
    return Recognised("lora", "a LoRA or another adapter of weights")


def _other_adapter(file: SafetensorsFile) -> Recognised | None:
    found = kind_not_served(file.tensors)
    if found is None:
        return None
    return Recognised("other", found[0], f"Leyden does not serve it (by {found[1]})")


def _embedding(file: SafetensorsFile) -> Recognised | None:
    names = set(file.tensors)
    if names and names <= {"clip_l", "clip_g"}:
        both = names == {"clip_l", "clip_g"}
        why = "" if both else "SDXL reads one for each text encoder, clip_l and clip_g"
        return Recognised("textual_inversion", "a textual inversion", why)
    if names == {"emb_params"} or "string_to_param" in names:
        return Recognised(
            "textual_inversion",
            "a textual inversion of Stable Diffusion 1 or 2",
            "SDXL reads two embeddings, clip_l and clip_g",
        )
    return None


def _checkpoint(file: SafetensorsFile) -> Recognised | None:
    names = file.tensors
    if any(name.startswith("cond_stage_model.") for name in names):
        second = any(name.startswith("cond_stage_model.model.") for name in names)
        return Recognised(
            "other",
            f"a Stable Diffusion {'2' if second else '1'} checkpoint",
            "Leyden serves SDXL",
        )
    unet = next((p for p in UNET_PREFIXES[:1] if f"{p}input_blocks.0.0.weight" in names), None)
    encoders = [p for p in FIRST_ENCODERS if any(name.startswith(p) for name in names)]
    if unet is None or not encoders:
        return None
    if _is_edm(file):
        return Recognised("other", "an EDM checkpoint", EDM, prefix=unet, original=True)
    refused = _refused_unet(file, unet, "input_blocks.0.0.weight", "label_emb.0.0.weight")
    if encoders == [FIRST_ENCODERS[1]]:
        refused = refused or ("SDXL's refiner", REFINER)
    if refused:
        return Recognised("other", f"{refused[0]} checkpoint", refused[1], unet, True)
    return Recognised("checkpoint", "an all-in-one SDXL checkpoint", "", unet, True)


def _other_family(file: SafetensorsFile) -> Recognised | None:
    for beginning, what in OTHER_FAMILIES.items():
        if any(
            name.startswith(beginning) or f".{beginning}" in name
            for name in file.tensors
            if not name.startswith(FIRST_ENCODERS)
        ):
            return Recognised("other", what, "Leyden serves SDXL's text to image")
    return None


EDM = (
    "EDM models (Playground v2.5 is one) scale noise and latents otherwise; Leyden does not serve "
    "them"
)
REFINER = "Leyden serves SDXL's base and what is made from it"


def _unet(file: SafetensorsFile) -> Recognised | None:
    names = file.tensors
    for first, added, original in (
        ("input_blocks.0.0.weight", "label_emb.0.0.weight", True),
        ("conv_in.weight", "add_embedding.linear_1.weight", False),
    ):
        prefix = next(
            (
                p
                for p in UNET_PREFIXES
                if f"{p}{first}" in names
                and any(
                    name.startswith((f"{p}middle_block.", f"{p}down_blocks.", f"{p}up_blocks."))
                    for name in names
                )
            ),
            None,
        )
        if prefix is None:
            continue
        if _is_edm(file):
            return Recognised("other", "the UNet of an EDM model", EDM)
        refused = _refused_unet(file, prefix, first, added)
        if refused:
            return Recognised("other", f"{refused[0]} UNet", refused[1], prefix, original)
        return Recognised("unet", "an SDXL UNet", "", prefix, original)
    return None


def _is_edm(file: SafetensorsFile) -> bool:
    return any(name in file.tensors for name in ("edm_mean", "edm_vpred.sigma_max"))


def _refused_unet(
    file: SafetensorsFile, prefix: str, first: str, added: str
) -> tuple[str, str] | None:
    """Return what the UNet is and why it is not served, or None."""
    into = file.tensors[f"{prefix}{first}"].shape[1:2]
    if into == (9,):
        return ("an inpainting", "its UNet reads 9 channels: latents, a mask and a masked image")
    if into == (8,):
        return ("an image-editing (InstructPix2Pix)", "its UNet reads 8 channels")
    if f"{prefix}{added}" not in file.tensors:
        version = {768: "1", 1024: "2"}.get(_cross_width(file, prefix) or 0)
        return (f"a Stable Diffusion {version}", "Leyden serves SDXL") if version else None
    if file.tensors[f"{prefix}{added}"].shape[1:2] == (2560,):
        return ("SDXL's refiner", REFINER)
    return None


def _cross_width(file: SafetensorsFile, prefix: str) -> int | None:
    for tensor in file:
        if tensor.name.startswith(prefix) and tensor.name.endswith("attn2.to_k.weight"):
            return tensor.shape[-1]
    return None


def _parts(file: SafetensorsFile) -> Recognised | None:
    names = file.tensors
    if any(name.startswith(("text_model.", "transformer.text_model.")) for name in names):
        return Recognised("text_encoder", "a CLIP text encoder")
    if any(
        name.startswith(("taesd_", "decoder.layers.", "encoder.layers.")) or name == "1.weight"
        for name in names
    ):
        return Recognised(
            "other",
            "a tiny autoencoder (TAESD)",
            "its pictures are rougher than the VAE's; Leyden serves AutoencoderKL",
        )
    for prefix in (VAE, "vae.", ""):
        if f"{prefix}decoder.conv_in.weight" in names:
            original = any(name.startswith(f"{prefix}decoder.mid.") for name in names)
            return Recognised("vae", "a VAE", prefix=prefix, original=original)
    return None
