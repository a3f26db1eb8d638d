"""Which tensor of which file each parameter of a part comes from, and that nothing is left over."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from leyden_server.checkpoint.layout import Layout, Parameter
from leyden_server.checkpoint.leftovers import is_leftover
from leyden_server.checkpoint.safetensors_file import SafetensorsFile, TensorInfo, is_float
from leyden_server.errors import ModelRepositoryError

__all__ = [
    "PartPlan",
    "Piece",
    "Scheme",
    "check_nothing_is_left",
    "plan_part",
    "scheme_of",
    "unknown_in",
]


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one parameter comes from."""

    parameter: Parameter
    file: SafetensorsFile
    tensor: TensorInfo
    original: bool
    """Whether the tensor is laid out as the original has it, not as diffusers has it."""
    scale: TensorInfo | None = None
    """What a scaled float8 tensor is to be multiplied by."""


@dataclass(frozen=True, slots=True)
class PartPlan:
    """A part of a model, every parameter of which has a place that it comes from."""

    part: str
    pieces: tuple[Piece, ...]
    """In the order of their bytes, file by file."""
    used: Mapping[Path, frozenset[str]] = field(default_factory=dict)
    """The tensors that are used of each file, scales among them."""

    @property
    def parameters(self) -> int:
        """How many numbers the part has."""
        total = 0
        for piece in self.pieces:
            count = 1
            for side in piece.parameter.shape:
                count *= side
            total += count
        return total

    @property
    def dtypes(self) -> list[str]:
        """The dtypes that its tensors are stored in, the commonest first."""
        counts: dict[str, int] = {}
        for piece in self.pieces:
            counts[piece.tensor.dtype] = counts.get(piece.tensor.dtype, 0) + 1
        return sorted(counts, key=lambda dtype: -counts[dtype])


OLD_ATTENTION = {
    ".to_q.": ".query.",
    ".to_k.": ".key.",
    ".to_v.": ".value.",
    ".to_out.0.": ".proj_attn.",
}
"""What diffusers, which still reads them, called the parts of a VAE's attention."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the tensors of a part are named in a file."""

    prefix: str
    original: bool
    without: str = ""
    """What the parameter's own name begins with, and the tensor's does not."""
    old_attention: bool = False
    """Whether a VAE's attention is called as in diffusers before 0.17."""

    def name(self, parameter: Parameter) -> str:
        """Return the name of the tensor that has the parameter."""
        if self.original:
            return self.prefix + parameter.original
        name = parameter.name.removeprefix(self.without)
        for today, before in OLD_ATTENTION.items() if self.old_attention else ():
            name = name.replace(today, before)
        return self.prefix + name


def plan_part(
    part: str, layout: Layout, files: Sequence[SafetensorsFile], scheme: Scheme
) -> PartPlan:
    """Find every parameter of `layout` in `files`.

    Raises:
        ModelRepositoryError: tensors lack, have another shape or dtype, or lie in two files.

    """
    for file in files:
        _check_header(file)
    tensors = _tensors(files)
    pieces: list[Piece] = []
    used: dict[Path, set[str]] = {file.path: set() for file in files}
    missing: list[str] = []
    wrong: list[str] = []
    for parameter in layout.values():
        name = scheme.name(parameter)
        found = tensors.get(name)
        if found is None:
            missing.append(name)
            continue
        file, tensor = found
        wrong += _wrong_with(tensor, parameter, scheme.original)
        scale = _scale(file, name)
        pieces.append(Piece(parameter, file, tensor, scheme.original, scale))
        used[file.path].update(_with_scales(file, name))
    if missing or wrong:
        raise ModelRepositoryError(_does_not_fit(part, files, missing, wrong))
    return PartPlan(
        part,
        tuple(sorted(pieces, key=lambda piece: (files.index(piece.file), piece.tensor.begin))),
        {path: frozenset(names) for path, names in used.items()},
    )


def scheme_of(
    layout: Layout, files: Sequence[SafetensorsFile], schemes: Iterable[Scheme]
) -> Scheme:
    """Return by which scheme the files have the most of the layout's parameters."""
    names = {name for file in files for name in file.tensors}
    return max(
        schemes,
        key=lambda scheme: sum(scheme.name(parameter) in names for parameter in layout.values()),
    )


def check_nothing_is_left(
    files: Iterable[SafetensorsFile], used: Mapping[Path, Collection[str]], what: str
) -> None:
    """Check that what no part uses is known to mean nothing.

    Raises:
        ModelRepositoryError: a tensor is left over; the first few are named.

    """
    for file in files:
        left = unknown_in(file, used.get(file.path, ()))
        if left:
            raise ModelRepositoryError(
                f"{file.path}: {_some(left)}: {what} has no such tensor, so Leyden cannot tell "
                "what this one is for"
            )


def unknown_in(file: SafetensorsFile, used: Collection[str]) -> list[str]:
    """Return the tensors that are neither used nor known to mean nothing."""
    return [
        name
        for name in file.tensors
        if name not in used and not is_leftover(name) and name.rpartition(".")[2] not in MARKS
    ]


MARKS = ("v_pred", "ztsnr", "scaled_fp8")
"""Tensors that say something of the whole file: the schedule, and that float8 is scaled."""


def _tensors(
    files: Sequence[SafetensorsFile],
) -> dict[str, tuple[SafetensorsFile, TensorInfo]]:
    found: dict[str, tuple[SafetensorsFile, TensorInfo]] = {}
    for file in files:
        for tensor in file:
            if tensor.name in found:
                raise ModelRepositoryError(
                    f"{file.path}: {tensor.name} is in {found[tensor.name][0].path.name}, too"
                )
            found[tensor.name] = (file, tensor)
    return found


def _wrong_with(tensor: TensorInfo, parameter: Parameter, original: bool) -> Iterator[str]:
    wanted = parameter.original_shape if original else parameter.shape
    if _significant(tensor.shape) != _significant(wanted):
        yield f"{tensor.name}: shape {list(tensor.shape)} in place of {list(wanted)}"
    elif not is_float(tensor):
        yield (
            f"{tensor.name}: {tensor.dtype}, a quantised weight; Leyden loads F32, F16, BF16, "
            "F64, F8_E4M3 and F8_E5M2"
        )


def _significant(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the last axes of 1: a 1 x 1 convolution is a linear layer."""
    end = len(shape)
    while end > 1 and shape[end - 1] == 1:
        end -= 1
    return shape[:end]


SCALES = ("scale_weight", "weight_scale")
"""What ComfyUI's scaled float8 files and compressed-tensors call a weight's scale."""
OF_ACTIVATIONS = ("scale_input", "input_scale")
"""What activations are divided by where they become float8 too: here they do not."""
FORMAT = "comfy_quant"
SERVED_FORMATS = ("float8_e4m3fn", "float8_e5m2")


def _scale(file: SafetensorsFile, name: str) -> TensorInfo | None:
    if not name.endswith(".weight"):
        return None
    stem = name.removesuffix("weight")
    _check_format(file, stem)
    found = [file.tensors[stem + scale] for scale in SCALES if stem + scale in file.tensors]
    if len(found) > 1:
        raise ModelRepositoryError(f"{file.path}: {name} has two scales: {_named(found)}")
    if not found:
        return None
    (scale,) = found
    rows = file.tensors[name].shape[0]
    if _significant(scale.shape) not in ((), (1,), (rows,)) or not is_float(scale):
        raise ModelRepositoryError(
            f"{file.path}: {scale.name}: one number, or one for each of the {rows} rows of the "
            f"weight, is served; got {scale.dtype} of shape {list(scale.shape)}"
        )
    return scale


def _check_format(file: SafetensorsFile, stem: str) -> None:
    if stem + FORMAT not in file.tensors:
        return
    text = file.read_bytes(stem + FORMAT)
    try:
        kind = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelRepositoryError(f"{file.path}: {stem}{FORMAT} cannot be read") from error
    _check_served(file, stem + FORMAT, kind)


HEADER = "_quantization_metadata"


def _check_header(file: SafetensorsFile) -> None:
    """Check what ComfyUI's newer files say in their header of how layers are quantised.

    Raises:
        ModelRepositoryError: one is in a format that is not served.

    """
    if HEADER not in file.metadata:
        return
    try:
        layers = json.loads(file.metadata[HEADER])["layers"]
        formats = {name: layer["format"] for name, layer in layers.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelRepositoryError(f"{file.path}: its {HEADER} cannot be read") from error
    for name, kind in formats.items():
        _check_served(file, name, kind)


def _check_served(file: SafetensorsFile, name: str, kind: object) -> None:
    if kind not in SERVED_FORMATS:
        raise ModelRepositoryError(
            f"{file.path}: {name}: weights quantised as {kind!r}; of these files "
            f"{' and '.join(SERVED_FORMATS)} are served"
        )


def _with_scales(file: SafetensorsFile, name: str) -> Iterator[str]:
    yield name
    if name.endswith(".weight"):
        stem = name.removesuffix("weight")
        for suffix in (*SCALES, *OF_ACTIVATIONS, FORMAT):
            if stem + suffix in file.tensors:
                yield stem + suffix


def _does_not_fit(
    part: str, files: Sequence[SafetensorsFile], missing: list[str], wrong: list[str]
) -> str:
    where = ", ".join(str(file.path) for file in files)
    problems = [f"lacks {_some(missing)}"] if missing else []
    if wrong:
        problems.append(f"{'; '.join(wrong[:3])}{_more(len(wrong) - 3)}")
    return f"{where}: does not fit the {part} of its config: {'; '.join(problems)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + _more(len(names) - 3)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _named(tensors: Iterable[TensorInfo]) -> str:
    return " and ".join(tensor.name for tensor in tensors)
