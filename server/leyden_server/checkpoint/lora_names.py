"""How LoRA files name modules and what each of their tensors is for.

A tensor's name is a stem, which stands for a module, and an ending, which says its role. Stems are
looked up in tables made from the layouts of the parts; nothing is derived from a name by rules that
could take it for another.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from leyden_server.checkpoint.layout import Layout, Parameter

__all__ = ["Module", "ModuleNames", "kind_not_served", "stem_and_role"]


@dataclass(frozen=True, slots=True)
class Module:
    """A module of a part, by the parameters that it has."""

    part: str
    name: str
    """In diffusers' and transformers' names."""
    weight: Parameter | None = None
    bias: Parameter | None = None

    @property
    def is_embedding(self) -> bool:
        """Whether its weight is a table of vectors that is looked up, not multiplied by."""
        return ".embeddings." in f".{self.name}."


ROLE_OF_ENDING: Mapping[str, str] = {
    # kohya's trainer and LyCORIS.
    "lora_down.weight": "down",
    "lora_up.weight": "up",
    "lora_mid.weight": "mid",
    "alpha": "alpha",
    "dora_scale": "dora_scale",
    # peft.
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_B.bias": "up_bias",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    # diffusers before it had peft.
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    **{
        role: role
        for role in (
            *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
            *("lokr_w1", "lokr_w1_a", "lokr_w1_b"),
            *("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
            *("diff", "diff_b", "w_norm", "b_norm"),
        )
    },
}

_ADAPTER_NAME = re.compile(
    r"\.(lora_A|lora_B|lora_magnitude_vector|hada_\w+|lokr_\w+)"
    r"\.(?!weight$|bias$)[^.]+(?=\.(?:weight|bias)$|$)"
)
"""What a state dict that was saved as it is has between a role and its end: `.default`."""


def stem_and_role(name: str) -> tuple[str, str] | None:
    """Split a tensor's name into what stands for the module and what the tensor is to it.

    Returns None for an ending that no served kind of adapter has.
    """
    words = _ADAPTER_NAME.sub(r".\1", name).split(".")
    for count in (3, 2, 1):
        role = ROLE_OF_ENDING.get(".".join(words[-count:]))
        if role is not None and len(words) > count:
            return ".".join(words[:-count]), role
    # diffusers' attention processors: …attn1.processor.to_q_lora.down.weight.
    if len(words) > 3 and words[-3].endswith("_lora") and words[-1] == "weight":
        role = {"down": "down", "up": "up"}.get(words[-2])
        return None if role is None else (".".join(words[:-2]), role)
    return None


PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": (
        "unet.base_model.model.",
        "base_model.model.unet.",
        "base_model.model.",
        "unet.",
        "model.diffusion_model.",
        "diffusion_model.",
        "",
    ),
    "text_encoder": (
        "text_encoder.base_model.model.",
        "base_model.model.text_encoder.",
        "text_encoder.",
        "text_encoders.clip_l.transformer.",
    ),
    "text_encoder_2": (
        "text_encoder_2.base_model.model.",
        "base_model.model.text_encoder_2.",
        "text_encoder_2.",
        "text_encoders.clip_g.transformer.",
    ),
}
"""What stands before a module's name, written with dots, by part: diffusers, peft, ComfyUI."""

UNDERSCORED: Mapping[str, tuple[str, ...]] = {
    "unet": ("lora_unet_", "lycoris_"),
    "text_encoder": ("lora_te1_",),
    "text_encoder_2": ("lora_te2_",),
}
"""What stands before a module's name whose dots are underscores: kohya's trainer, LyCORIS."""


class ModuleNames:
    """Every name by which a file may call a module of the parts.

    `layouts` are by part: unet, text_encoder, text_encoder_2.
    """

    def __init__(self, layouts: Mapping[str, Layout]) -> None:
        self._tables: list[tuple[str, dict[str, Module]]] = []
        for part, layout in layouts.items():
            dotted: dict[str, Module] = {}
            underscored: dict[str, Module] = {}
            for module in _modules(part, layout):
                own = {module.name, *_other_names(module)}
                dotted |= dict.fromkeys(own | set(_in_old_diffusers(module)), module)
                underscored |= {name.replace(".", "_"): module for name in own}
            self._tables += [(prefix, dotted) for prefix in PREFIXES[part]]
            self._tables += [(prefix, underscored) for prefix in UNDERSCORED[part]]

    def find(self, stem: str) -> Module | None:
        """Return the module that a stem stands for, or None."""
        for prefix, table in self._tables:
            if stem.startswith(prefix) and stem[len(prefix) :] in table:
                return table[stem[len(prefix) :]]
        return None


def _modules(part: str, layout: Layout) -> Iterable[Module]:
    pairs: dict[str, dict[str, Parameter]] = {}
    for name, parameter in layout.items():
        module, _, kind = name.rpartition(".")
        pairs.setdefault(module, {})[kind] = parameter
    for module, pair in pairs.items():
        yield Module(part, module, pair.get("weight"), pair.get("bias"))


TEXT_MODEL = "text_model."


def _other_names(module: Module) -> Iterable[str]:
    """Give the original name of a UNet's module, and an encoder's without its outer module."""
    parameter = module.weight or module.bias
    if module.part == "unet" and parameter is not None:
        yield parameter.original.rpartition(".")[0]
    elif module.name.startswith(TEXT_MODEL):
        yield module.name.removeprefix(TEXT_MODEL)


OLD_NAMES = {
    "to_q": "to_q",
    "to_k": "to_k",
    "to_v": "to_v",
    "to_out.0": "to_out",
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "out_proj": "to_out",
}
"""What diffusers' attention processors called the projections of UNets and of encoders."""


def _in_old_diffusers(module: Module) -> Iterable[str]:
    for ours, theirs in OLD_NAMES.items():
        if module.name.endswith(f".{ours}"):
            stem = module.name.removesuffix(ours)
            for name in {stem, stem.removeprefix(TEXT_MODEL)}:
                yield f"{name}{theirs}_lora"
                yield f"{name}processor.{theirs}_lora"
                yield f"{name}processor.{theirs}"
                yield f"{name}processor.{ours}"


BEGINNINGS: Mapping[str, str] = {
    "lora_te_": "a LoRA of Stable Diffusion 1 or 2",
    "lora_te3_": "a LoRA of Stable Diffusion 3 or FLUX",
    "lora_unet_double_blocks_": "a LoRA of FLUX",
    "lora_unet_single_blocks_": "a LoRA of FLUX",
    "lora_unet_joint_blocks_": "a LoRA of Stable Diffusion 3",
    "diffusion_model.double_blocks.": "a LoRA of FLUX",
    "diffusion_model.single_blocks.": "a LoRA of FLUX",
    "diffusion_model.joint_blocks.": "a LoRA of Stable Diffusion 3",
    "lora_transformer_": "a LoRA of a diffusion transformer (FLUX, Stable Diffusion 3)",
    "transformer.": "a LoRA of a diffusion transformer (FLUX, Stable Diffusion 3)",
    "lora_prior_": "a LoRA of Stable Cascade",
    "lllite_unet": "a ControlNet-LLLite",
    "lora_controlnet": "a Control-LoRA",
    "bundle_emb.": "a LoRA with textual inversions in one file",
}
WITHIN: Mapping[str, str] = {
    "motion_modules": "a motion LoRA of AnimateDiff",
}
ENDS: Mapping[str, str] = {
    "oft_blocks": "an OFT or BOFT (orthogonal finetuning)",
    "oft_diag": "an OFT (orthogonal finetuning)",
    "oft_R": "an OFT (orthogonal finetuning)",
    "oft_r": "an OFT (orthogonal finetuning)",
    "boft_R": "a BOFT (butterfly orthogonal finetuning)",
    "boft_s": "a BOFT (butterfly orthogonal finetuning)",
    "on_input": "an IA3",
    "ia3_l": "an IA3",
    "a1": "a GLoRA",
    "a2": "a GLoRA",
    "b1": "a GLoRA",
    "b2": "a GLoRA",
    "lambda_layer": "a T-LoRA",
    "lora_E": "an AdaLoRA",
    "lora_diag": "a KaSA",
    "vera_lambda_b": "a VeRA",
    "vera_lambda_d": "a VeRA",
    "lora_embedding_A": "a LoRA on embeddings",
    "lora_embedding_B": "a LoRA on embeddings",
    "bias_values": "a LoRA with sparse differences of biases",
}


def kind_not_served(names: Iterable[str]) -> tuple[str, str] | None:
    """Return what kind of adapter is not served here, and the first tensor that shows it."""
    for name in names:
        for beginning, kind in BEGINNINGS.items():
            if name.startswith(beginning):
                return kind, name
        for word, kind in WITHIN.items():
            if word in name:
                return kind, name
        words = set(name.removesuffix(".weight").split(".")[-2:])
        for end, kind in ENDS.items():
            if end in words:
                return kind, name
    return None
