"""How strong each layer of a LoRA file is: its own alpha, or what the header says of it.

A layer adds `alpha / rank` times the product of its matrices (arXiv 2106.09685). kohya's trainer
and LyCORIS keep an alpha beside each layer, peft keeps them in its config, and where there is
neither alpha is the rank.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from leyden_server.checkpoint.lora_layer import LoraLayer
from leyden_server.checkpoint.lora_metadata import (
    METADATA_KEY,
    AdapterConfig,
    KohyaAlphas,
    adapter_configs,
    rank_stabilised,
)
from leyden_server.checkpoint.lora_names import Module
from leyden_server.checkpoint.safetensors_file import SafetensorsFile, TensorInfo
from leyden_server.errors import ModelRepositoryError

__all__ = ["Alphas", "first_few", "refuse"]


def refuse(file: SafetensorsFile, why: str) -> NoReturn:
    """Refuse a file.

    Raises:
        ModelRepositoryError: always.

    """
    raise ModelRepositoryError(f"{file.path}: {why}")


def first_few(texts: Sequence[str], between: str = ", ") -> str:
    """Return the first three and how many more there are."""
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return between.join(texts[:3]) + more


class Alphas:
    """Tells each layer's alpha, from its tensor or from the header."""

    def __init__(self, file: SafetensorsFile, modules: Sequence[Module]) -> None:
        self.file = file
        self.configs: Mapping[str, AdapterConfig] = adapter_configs(file)
        self.trained: KohyaAlphas | None = rank_stabilised(file.metadata)
        for part, config in self.configs.items():
            names = [_names(module) for module in modules if module.part == part]
            odd = config.unused_patterns(names) if names else []
            if odd:
                refuse(
                    file, f"{METADATA_KEY} names {first_few(odd)}, and no layer of it is called so"
                )

    def given_to(self, layer: LoraLayer) -> LoraLayer:
        """Return the layer with its alpha.

        Raises:
            ModelRepositoryError: alpha cannot be told, or the header contradicts the tensors.

        """
        return self._of_tensor(self._of_metadata(layer))

    def _of_metadata(self, layer: LoraLayer) -> LoraLayer:
        """Return the layer with the alpha that peft's config gives it, which must fit it."""
        config = self.configs.get(layer.module.part)
        if config is None or layer.kind in ("diff", "norm"):
            return layer
        names, first = _names(layer.module), next(iter(layer.tensors.values())).name
        rank = config.rank_of(names)
        self._check(layer, config, rank, first)
        alpha = config.alpha_of(names)
        self._check_alpha(alpha, METADATA_KEY)
        return replace(layer, rank=rank, alpha=alpha, alpha_from=METADATA_KEY, rslora=config.rslora)

    def _of_tensor(self, layer: LoraLayer) -> LoraLayer:
        """Return the layer with the alpha that stands beside it."""
        tensor = layer.tensors.get("alpha")
        if tensor is None:
            return layer
        if tensor.parameters != 1:
            refuse(self.file, f"{tensor.name}: shape {list(tensor.shape)}; alpha is one number")
        alpha = _number(self.file, tensor)
        self._check_alpha(alpha, tensor.name)
        if layer.alpha is not None:
            if not math.isclose(alpha, layer.alpha, rel_tol=1e-3):
                refuse(
                    self.file,
                    f"{tensor.name} is {alpha:g} and {METADATA_KEY} says {layer.alpha:g}",
                )
            return layer
        if layer.kind == "lokr" and layer.rank == 0:
            if self.trained is not None:
                refuse(
                    self.file,
                    f"{layer.stem}: a full LoKr that was trained with rs_lora, whose factor the "
                    "file does not have",
                )
            # LyCORIS divides the alpha of a LoKr of two full factors by itself.
            return layer
        return replace(
            layer, alpha=alpha, alpha_from=tensor.name, rslora=self._undivided(layer, alpha)
        )

    def _undivided(self, layer: LoraLayer, alpha: float) -> bool:
        """Tell whether alpha is still to be divided by the root of the rank, not by the rank."""
        weight = layer.module.weight
        if self.trained is None or weight is None or layer.rank == 1:
            return False
        large = math.prod(weight.shape[2:]) > 1
        return math.isclose(
            alpha, self.trained.conv if large else self.trained.linear, rel_tol=1e-2
        )

    def _check(self, layer: LoraLayer, config: AdapterConfig, rank: int, first: str) -> None:
        kind = config.peft_type.lower()
        has_dora, has_bias = "magnitude" in layer.tensors, "up_bias" in layer.tensors
        if layer.kind != kind:
            refuse(self.file, f"{METADATA_KEY} says {kind}, and {first} is of a {layer.kind}")
        if layer.rank not in (0, rank):
            refuse(self.file, f"{METADATA_KEY} says rank {rank}, and {first} has rank {layer.rank}")
        for says, has, what in (
            (config.dora, has_dora, "use_dora"),
            (config.bias, has_bias, "lora_bias"),
        ):
            if says is not None and says != has:
                tensors = "has the tensors" if has else "lacks the tensors"
                refuse(
                    self.file,
                    f"{METADATA_KEY} says {what} {str(says).lower()}, and {layer.stem} {tensors}",
                )

    def _check_alpha(self, alpha: float, name: str) -> None:
        if not math.isfinite(alpha):
            refuse(self.file, f"{name}: alpha is {alpha}; the file is damaged")
        if alpha == 0:
            refuse(
                self.file,
                f"{name}: alpha is 0, which some programs take for 'as the rank' and others for "
                "'no effect'",
            )


def _names(module: Module) -> tuple[str, ...]:
    """Return what peft may have called a module; transformers 5 has no outer `text_model`."""
    return (module.name, module.name.removeprefix("text_model."))


FORMATS: Mapping[str, tuple[str, bytes]] = {
    "F64": ("<d", b""),
    "F32": ("<f", b""),
    "F16": ("<e", b""),
    "BF16": ("<f", bytes(2)),
    "F8_E5M2": ("<e", bytes(1)),
    "I64": ("<q", b""),
    "I32": ("<i", b""),
    "I16": ("<h", b""),
    "I8": ("<b", b""),
    "U8": ("<B", b""),
}
"""How `struct` reads a number, and the low bytes of its fraction that the dtype leaves out."""


def _number(file: SafetensorsFile, tensor: TensorInfo) -> float:
    """Read a tensor of one number. kohya's trainer keeps a whole alpha as a whole number."""
    if tensor.dtype not in FORMATS:
        refuse(file, f"{tensor.name}: an alpha of {tensor.dtype} is not read")
    form, zeros = FORMATS[tensor.dtype]
    return float(struct.unpack(form, zeros + file.read_bytes(tensor.name))[0])
