"""Which files of a diffusers SDXL folder a model needs, on this machine or on the hub."""

import re
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["PARTS", "NeededFiles"]

CONFIGS = (
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "unet/config.json",
    "vae/config.json",
)
TOKENIZERS = ("tokenizer", "tokenizer_2")
TOKENIZER_FILE = re.compile(r"(tokenizer|tokenizer_2)/[^/]+\.(json|txt)")

PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")
"""The parts of the pipeline that have weights."""

STEMS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
INDEX_FILE = "model_index.json"
SHARD_NUMBERS = r"-(\d{5})-of-(\d{5})"


@dataclass(frozen=True, slots=True)
class NeededFiles:
    """What a model needs of its base."""

    variant: str | None
    """Variant of the weight files, such as fp16."""
    weights_of: tuple[str, ...] = PARTS
    """Parts whose weights come from the base; of the others the config is enough."""

    def select(self, names: Collection[str]) -> tuple[list[str], list[str]]:
        """Return which of `names` (paths within the folder) are needed, and what lacks.

        `model_index.json` is the last of the needed: a folder that has it is complete.
        """
        needed: list[str] = []
        missing: list[str] = []
        for config in CONFIGS:
            (needed if config in names else missing).append(config)
        for tokenizer in TOKENIZERS:
            needed += [name for name in sorted(names) if name.startswith(f"{tokenizer}/")]
            missing += _missing_of_tokenizer(tokenizer, names)
        needed = [n for n in needed if n in CONFIGS or TOKENIZER_FILE.fullmatch(n)]
        for part in self.weights_of:
            weights = self.weights(part, names)
            needed += weights
            if not weights:
                missing += self._missing_weights(part, names)
        (needed if INDEX_FILE in names else missing).append(INDEX_FILE)
        return needed, missing

    def weights(self, part: str, names: Collection[str]) -> list[str]:
        """Return the weight files of a part, in order; empty where they are not all there.

        Where a part has no files of the variant that others have, its plain ones count, as in
        diffusers.
        """
        found = self._weights(part, names, self.variant)
        of_others = self.variant and any(
            self._weights(other, names, self.variant) for other in PARTS
        )
        return self._weights(part, names, None) if of_others and not found else found

    def _weights(self, part: str, names: Collection[str], variant: str | None) -> list[str]:
        stem, dotted = f"{part}/{STEMS[part]}", f".{variant}" if variant else ""
        whole = f"{stem}{dotted}.safetensors"
        index = f"{stem}.safetensors.index{dotted}.json"
        shards = _shards(stem + dotted, names)
        sharded = [index, *shards] if index in names and shards else []
        single = [whole] if whole in names else []
        # Where there are both, transformers loads the whole file and diffusers the shards.
        return single or sharded if STEMS[part] == "model" else sharded or single

    def hint(self, names: Collection[str]) -> str:
        """Return what to add to a message that weight files are missing."""
        stems = "|".join(re.escape(f"{part}/{STEMS[part]}") for part in self.weights_of)
        pattern = re.compile(rf"({stems})\.(\w+?)({SHARD_NUMBERS})?\.safetensors")
        found = {match[2] for name in names if (match := pattern.fullmatch(name))}
        others = sorted(found - {self.variant})
        choice = f"; model.yaml may choose variant: {' or '.join(others)}" if others else ""
        return f"weights are loaded from safetensors only{choice}"

    def _missing_weights(self, part: str, names: Collection[str]) -> list[str]:
        """Return what lacks of a part: of shards those that lack, else the whole file."""
        stem, dotted = f"{part}/{STEMS[part]}", f".{self.variant}" if self.variant else ""
        index = f"{stem}.safetensors.index{dotted}.json"
        pattern = re.compile(rf"{re.escape(stem + dotted)}{SHARD_NUMBERS}\.safetensors")
        counts = [int(match[2]) for name in names if (match := pattern.fullmatch(name))]
        if not counts:
            return [self._weight_name(part)]
        shards = [
            f"{stem}{dotted}-{number:05}-of-{max(counts):05}.safetensors"
            for number in range(1, max(counts) + 1)
        ]
        return [name for name in (index, *shards) if name not in names]

    def _weight_name(self, part: str) -> str:
        return f"{part}/{STEMS[part]}{f'.{self.variant}' if self.variant else ''}.safetensors"


def _shards(stem: str, names: Collection[str]) -> list[str]:
    """Return the shards in order; none where one of their number lacks."""
    pattern = re.compile(rf"{re.escape(stem)}{SHARD_NUMBERS}\.safetensors")
    found = (match for name in names if (match := pattern.fullmatch(name)))
    matches = sorted(found, key=lambda match: match[0])
    counts = {int(match[2]) for match in matches}
    if len(counts) != 1 or [int(m[1]) for m in matches] != list(range(1, counts.pop() + 1)):
        return []
    return [match[0] for match in matches]


def _missing_of_tokenizer(tokenizer: str, names: Collection[str]) -> list[str]:
    if not any(name.startswith(f"{tokenizer}/") for name in names):
        return [tokenizer]
    missing = [f"{tokenizer}/tokenizer_config.json"]
    if f"{tokenizer}/tokenizer.json" not in names:
        missing += [f"{tokenizer}/vocab.json", f"{tokenizer}/merges.txt"]
    return [name for name in missing if name not in names]
