"""Which layers a LoRA file has, and which parameters of a model each of them changes.

Every tensor of a file belongs to exactly one layer, and no two layers reach the same module; the
file is refused otherwise, by the names of what is left, lacks or collides. What a layer does to a
weight is `accelerator.adapters`' to compute.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from leyden_server.checkpoint.layout import Layout
from leyden_server.checkpoint.lora_alphas import Alphas, first_few, refuse
from leyden_server.checkpoint.lora_layer import (
    LayerKind,
    LoraLayer,
    Tensors,
    dora_axis,
    kind_of,
    rank_of,
    wrong_shapes,
)
from leyden_server.checkpoint.lora_names import (
    Module,
    ModuleNames,
    kind_not_served,
    stem_and_role,
)
from leyden_server.checkpoint.safetensors_file import SafetensorsFile, TensorInfo, is_float

__all__ = ["LoraFile"]


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A file all of whose tensors have a place."""

    file: SafetensorsFile
    layers: tuple[LoraLayer, ...]
    """In the order of their first bytes."""

    @classmethod
    def read(cls, file: SafetensorsFile, layouts: Mapping[str, Layout]) -> "LoraFile":
        """Find the place of every tensor. Reads of the tensors' bytes only the alphas'.

        `layouts` are those of unet, text_encoder and text_encoder_2.

        Raises:
            ModelRepositoryError: the file is an adapter of a kind or for a model that is not
                served, a tensor has no place or no other half, does not fit its parameter or is no
                float, two layers are for one module, or the metadata says what is not served; the
                text names the file and the first few tensors.

        """
        other = kind_not_served(file.tensors)
        if other is not None:
            refuse(
                file,
                f"is {other[0]} (by {other[1]}), which Leyden does not serve; it applies LoRA, "
                "LoCon, DoRA, LoHa, LoKr and full differences of SDXL",
            )
        modules, groups = _grouped(file, ModuleNames(layouts))
        kinds = _kinds(file, groups)
        wrong = [
            text
            for stem, tensors in groups.items()
            for text in _wrong(modules[stem], kinds[stem], tensors)
        ]
        if wrong:
            refuse(file, f"does not fit the model: {first_few(wrong, '; ')}{_family(file)}")
        alphas = Alphas(file, list(modules.values()))
        layers = (
            _layer(file, modules[stem], stem, kinds[stem], tensors)
            for stem, tensors in groups.items()
        )
        return cls(file, tuple(alphas.given_to(layer) for layer in layers))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a model that it changes."""
        return tuple(dict.fromkeys(layer.module.part for layer in self.layers))


def _grouped(
    file: SafetensorsFile, names: ModuleNames
) -> tuple[dict[str, Module], dict[str, dict[str, TensorInfo]]]:
    """Return the module and the tensors by role of each stem."""
    modules: dict[str, Module] = {}
    groups: dict[str, dict[str, TensorInfo]] = {}
    unknown: list[str] = []
    homeless: list[str] = []
    for tensor in file:
        found = stem_and_role(tensor.name)
        if found is None:
            unknown.append(tensor.name)
            continue
        stem, role = found
        module = modules.get(stem) or names.find(stem)
        if module is None:
            homeless.append(tensor.name)
            continue
        modules[stem] = module
        twin = groups.setdefault(stem, {}).setdefault(role, tensor)
        if twin is not tensor:
            refuse(file, f"has the same of one module twice: {twin.name} and {tensor.name}")
    if unknown:
        refuse(file, f"{first_few(unknown)}: Leyden knows no adapter with such a tensor")
    if homeless:
        refuse(file, f"{first_few(homeless)}: {_no_such_module(homeless)}{_family(file)}")
    if not groups:
        refuse(file, "has no tensors")
    stem_of: dict[tuple[str, str], str] = {}
    for stem, module in modules.items():
        twin_stem = stem_of.setdefault((module.part, module.name), stem)
        if twin_stem != stem:
            refuse(
                file,
                f"has {module.name} of the {module.part} twice, as {twin_stem} and as {stem}: a "
                "module can be changed only once",
            )
    return modules, groups


def _no_such_module(names: Sequence[str]) -> str:
    if any(name.startswith(("text_model.", "base_model.model.text_model.")) for name in names):
        return (
            "layers of a text encoder, without saying of which; names of theirs begin with "
            "text_encoder. or text_encoder_2."
        )
    return "the model has no such module"


def _kinds(file: SafetensorsFile, groups: Mapping[str, Tensors]) -> dict[str, LayerKind]:
    kinds: dict[str, LayerKind] = {}
    wrong: list[str] = []
    for stem, tensors in groups.items():
        match kind_of(tensors):
            case "lora" | "loha" | "lokr" | "diff" | "norm" as kind:
                kinds[stem] = kind
            case problem:
                wrong.append(problem)
    if wrong:
        refuse(file, f"is damaged or no adapter that Leyden knows: {first_few(wrong, '; ')}")
    return kinds


def _wrong(module: Module, kind: LayerKind, tensors: Tensors) -> Iterable[str]:
    for role, tensor in tensors.items():
        if role != "alpha" and not is_float(tensor):
            yield f"{tensor.name}: {tensor.dtype} is no float"
    if module.is_embedding and kind != "diff":
        yield f"{next(iter(tensors.values())).name}: a LoRA on embeddings is not served"
    yield from wrong_shapes(kind, tensors, module.weight, module.bias)


def _layer(
    file: SafetensorsFile, module: Module, stem: str, kind: LayerKind, tensors: Tensors
) -> LoraLayer:
    """Return the layer, without its alpha."""
    magnitudes = [role for role in ("dora_scale", "magnitude") if role in tensors]
    if len(magnitudes) > 1:
        refuse(file, f"{stem}: has both dora_scale and lora_magnitude_vector")
    axis = None
    if magnitudes and module.weight is not None:
        axis = dora_axis(magnitudes[0], tensors[magnitudes[0]], module.weight.shape)
    rank = rank_of(kind, tensors)
    return LoraLayer(module, stem, kind, MappingProxyType(dict(tensors)), rank, dora=axis)


CROSS_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}


def _family(file: SafetensorsFile) -> str:
    """Return, for the end of an error, of which other model the file is, where that shows."""
    for tensor in file:
        if "attn2" in tensor.name and "to_k" in tensor.name and len(tensor.shape) > 1:
            name = CROSS_WIDTHS.get(tensor.shape[1])
            if name is not None:
                return f". It looks like a LoRA of {name}; Leyden serves SDXL"
    return ""
