"""What the header of a LoRA file says: peft's configs, and what kohya's trainer notes.

diffusers writes the config of each part's adapter under `lora_adapter_metadata`; its alphas decide
how strong the LoRA is. kohya's trainer writes its settings under names that begin with `ss_`, and
ModelSpec's (https://github.com/Stability-AI/ModelSpec) begin with `modelspec.`: of them one says
something about the weights, `rs_lora`, and the others are for people.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from leyden_server.checkpoint.fields import Field, Fields, one_of, used
from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.errors import ModelRepositoryError

__all__ = [
    "METADATA_KEY",
    "AdapterConfig",
    "KohyaAlphas",
    "TrainingNotes",
    "adapter_configs",
    "rank_stabilised",
    "training_notes",
]

METADATA_KEY = "lora_adapter_metadata"
PARTS = ("text_encoder_2", "text_encoder", "unet")


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What peft's config says of a part's layers."""

    peft_type: str
    """LORA, LOHA or LOKR."""
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    """Ranks of modules whose names the pattern, a regular expression, is the end of."""
    alpha_pattern: Mapping[str, float]
    rslora: bool = False
    dora: bool | None = None
    """Whether it says that the layers are DoRAs; None where it cannot say."""
    bias: bool | None = None
    """Whether it says that the layers have biases of their own."""

    def rank_of(self, names: Sequence[str]) -> int:
        """Return the rank of a module, by any of its names."""
        return int(_by_pattern(self.rank_pattern, names, self.rank))

    def alpha_of(self, names: Sequence[str]) -> float:
        """Return the alpha of a module, by any of its names."""
        return float(_by_pattern(self.alpha_pattern, names, self.alpha))

    def unused_patterns(self, names: Iterable[Sequence[str]]) -> list[str]:
        """Return the patterns that fit no module, each of which is given by its names."""
        left = dict.fromkeys([*self.rank_pattern, *self.alpha_pattern])
        for module in names:
            for pattern in [pattern for pattern in left if _fits(pattern, module)]:
                del left[pattern]
            if not left:
                break
        return list(left)


def _by_pattern(patterns: Mapping[str, float], names: Sequence[str], default: float) -> float:
    return next((value for key, value in patterns.items() if _fits(key, names)), default)


def _fits(pattern: str, names: Sequence[str]) -> bool:
    # As peft reads its patterns (`peft.utils.other.get_pattern_key`).
    return any(re.match(rf"(.*\.)?({pattern})$", name) for name in names)


def _numbers(least: float | None, what: str) -> Field:
    def allowed(value: Any) -> bool:
        return value is None or (
            isinstance(value, dict)
            and all(
                isinstance(one, int | float)
                and not isinstance(one, bool)
                and math.isfinite(one)
                and (least is None or (one >= least and isinstance(one, int)))
                for one in value.values()
            )
            and all(_is_pattern(key) for key in value)
        )

    return Field(allowed, what, None)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


PATTERNS = {
    "rank_pattern": _numbers(1, "a table of names and whole numbers from 1"),
    "alpha_pattern": _numbers(None, "a table of names and numbers"),
}
OF_ALL = frozenset(
    {
        # Which modules were trained: the file's tensors tell.
        *("exclude_modules", "layers_pattern", "layers_to_transform", "target_modules"),
        # How they were trained, from what and by which versions.
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type"),
        *("peft_version", "revision", "task_type"),
        *("module_dropout", "rank_dropout", "rank_dropout_scale"),
    }
)
LORA = Fields(
    "a LoRA's config",
    {
        **PATTERNS,
        "r": used(int, 8, least=1),
        "lora_alpha": used((int, float), 8),
        "use_rslora": used(bool, False),
        "use_dora": used(bool, False),
        "lora_bias": used(bool, False),
        "bias": one_of("none"),
        # The other ways to begin change the base's weights, too.
        "init_lora_weights": one_of(True, False, "gaussian", "eva", "orthogonal"),
        "modules_to_save": one_of(None, []),
        "target_parameters": one_of(None, []),
        "use_qalora": one_of(False, None),
        "trainable_token_indices": one_of(None),
        "alora_invocation_tokens": one_of(None),
        "layer_replication": one_of(None),
        "arrow_config": one_of(None),
        "kasa_config": one_of(None),
        "monteclora_config": one_of(None),
        "use_bdlora": one_of(None),
        "velora_config": one_of(None),
    },
    {
        *OF_ALL,
        # peft takes it as false for linear layers.
        "fan_in_fan_out",
        # Training alone, or a way to begin that `init_lora_weights` names.
        *("corda_config", "eva_config", "loftq_config", "lora_dropout", "lora_ga_config"),
        *("ensure_weight_tying", "megatron_config", "megatron_core", "qalora_group_size"),
        "runtime_config",
    },
)
LYCORIS = Fields(
    "a LoHa's or LoKr's config",
    {
        **PATTERNS,
        "r": used(int, 8, least=1),
        "alpha": used((int, float), 8),
        "modules_to_save": one_of(None, []),
    },
    # The tensors have the shapes that these led to.
    {*OF_ALL, "decompose_both", "decompose_factor", "init_weights", "use_effective_conv2d"},
)
SERVED_TYPES = {"LORA": LORA, "LOHA": LYCORIS, "LOKR": LYCORIS}


def adapter_configs(file: SafetensorsFile) -> dict[str, AdapterConfig]:
    """Return what `lora_adapter_metadata` says, by part; a config without a part is the UNet's.

    Raises:
        ModelRepositoryError: it cannot be read, or a field says what is not served.

    """
    text = file.metadata.get(METADATA_KEY)
    if text is None:
        return {}
    try:
        whole = json.loads(text)
    except ValueError as error:
        raise ModelRepositoryError(f"{file.path}: {METADATA_KEY} is not JSON") from error
    if not isinstance(whole, dict):
        raise ModelRepositoryError(f"{file.path}: {METADATA_KEY} is not a JSON object")
    of_parts: dict[str, dict[str, Any]] = {}
    for key, value in whole.items():
        part = next((part for part in PARTS if key.startswith(f"{part}.")), None)
        name = key if part is None else key.removeprefix(f"{part}.")
        of_parts.setdefault(part or "unet", {})[name] = value
    return {part: _config(file, part, fields) for part, fields in of_parts.items()}


def _config(file: SafetensorsFile, part: str, fields: dict[str, Any]) -> AdapterConfig:
    kind = fields.get("peft_type", "LORA")
    if kind not in SERVED_TYPES:
        raise ModelRepositoryError(
            f"{file.path}: {METADATA_KEY}: {part}: an adapter of type {kind!r}; "
            f"{', '.join(SERVED_TYPES)} are served"
        )
    values = SERVED_TYPES[kind].check(fields, file.path)
    plain = kind == "LORA"
    return AdapterConfig(
        kind,
        values["r"],
        values["lora_alpha" if plain else "alpha"],
        MappingProxyType(values["rank_pattern"] or {}),
        MappingProxyType(values["alpha_pattern"] or {}),
        rslora=plain and values["use_rslora"],
        dora=values["use_dora"] if plain else None,
        bias=values["lora_bias"] if plain else None,
    )


@dataclass(frozen=True, slots=True)
class KohyaAlphas:
    """The alphas that a rank-stabilised LoRA was trained with, by LyCORIS under kohya's trainer."""

    linear: float
    conv: float
    """Of convolutions larger than 1 x 1."""


def rank_stabilised(metadata: Mapping[str, str]) -> KohyaAlphas | None:
    """Return the alphas that the header names beside `rs_lora`, or None where it has none.

    LyCORIS writes `alpha * sqrt(rank)` as a layer's alpha since July 2024, so that alpha / rank is
    the factor. Before, it wrote alpha itself: only this tells such files apart.
    """
    arguments = _json_table(metadata.get("ss_network_args"))
    # kohya's own modules know no such argument.
    if not metadata.get("ss_network_module", "").startswith("lycoris"):
        return None
    if str(arguments.get("rs_lora", "")).lower() not in ("true", "1", "yes"):
        return None
    linear = _number(metadata.get("ss_network_alpha"))
    if linear is None:
        return None
    conv = _number(arguments.get("conv_alpha"))
    return KohyaAlphas(linear, linear if conv is None else conv)


@dataclass(frozen=True, slots=True)
class TrainingNotes:
    """What a LoRA's header tells people. Each may be empty; nothing depends on it."""

    trigger_phrase: str
    tags: tuple[tuple[str, int], ...]
    """Words of the captions it was trained on and how often, the commonest first."""
    title: str
    author: str
    architecture: str
    """ModelSpec's word: stable-diffusion-xl-v1-base/lora."""
    base_model: str
    comment: str


def training_notes(metadata: Mapping[str, str]) -> TrainingNotes:
    """Read what the header tells people; what cannot be read is left out."""
    counts: Counter[str] = Counter()
    for tags in _json_table(metadata.get("ss_tag_frequency")).values():
        if isinstance(tags, dict):
            for tag, count in tags.items():
                if isinstance(count, int):
                    counts[tag.strip()] += count

    def first(*names: str) -> str:
        texts = (metadata.get(name, "").strip() for name in names)
        return next((text for text in texts if text and text != "None"), "")

    return TrainingNotes(
        trigger_phrase=first("modelspec.trigger_phrase"),
        tags=tuple(counts.most_common()),
        title=first("modelspec.title", "ss_output_name"),
        author=first("modelspec.author"),
        architecture=first("modelspec.architecture"),
        base_model=first("ss_base_model_version", "ss_sd_model_name"),
        comment=first("modelspec.description", "ss_training_comment"),
    )


def _json_table(text: str | None) -> dict[str, Any]:
    try:
        table = json.loads(text or "{}")
    except ValueError:
        return {}
    return table if isinstance(table, dict) else {}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
