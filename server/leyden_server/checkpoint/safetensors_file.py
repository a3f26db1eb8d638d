"""A safetensors file by its header: names, shapes, dtypes and places of its tensors.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the length of
the header, the header in JSON, the tensors' bytes one after another. A file that is cut short, that
is of another kind or whose header lies is refused before any weight is read.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from leyden_server.errors import ModelRepositoryError

__all__ = ["BITS_OF", "SafetensorsFile", "TensorInfo", "is_float", "is_fp8"]

BITS_OF: Mapping[str, int] = MappingProxyType(
    {
        "BOOL": 8,
        "F4": 4,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "U8": 8,
        "I8": 8,
        "F8_E5M2": 8,
        "F8_E4M3": 8,
        "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8,
        "I16": 16,
        "U16": 16,
        "F16": 16,
        "BF16": 16,
        "I32": 32,
        "U32": 32,
        "F32": 32,
        "C64": 64,
        "F64": 64,
        "I64": 64,
        "U64": 64,
    }
)
"""The format's dtypes and the bits of one element."""

FP8 = frozenset({"F8_E5M2", "F8_E4M3"})
FLOATS = frozenset({"F16", "BF16", "F32", "F64"}) | FP8

MAX_HEADER_BYTES = 100_000_000
"""What the format's own reader takes at most."""

LFS_POINTER = b"version https://git-lfs"
ZIP, PICKLE, GGUF, HDF5 = b"PK\x03\x04", b"\x80", b"GGUF", b"\x89HDF"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as the header has it."""

    name: str
    dtype: str
    """As the format writes it: F16, BF16, F8_E4M3, …"""
    shape: tuple[int, ...]
    begin: int
    """Its first byte, from the file's beginning."""
    size_bytes: int

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """A file whose header has been read and fits its length."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    """By name, in the order of their bytes."""
    metadata: Mapping[str, str]
    """What the header's `__metadata__` says."""
    header_bytes: int

    @classmethod
    def read(cls, path: Path) -> "SafetensorsFile":
        """Read and check the header.

        Raises:
            ModelRepositoryError: the file is missing, of another kind, cut short, or its header
                contradicts itself; the text names the file.

        """
        try:
            with path.open("rb") as stream:
                size = path.stat().st_size
                length = _header_length(path, stream, size)
                raw = stream.read(length)
        except OSError as error:
            raise ModelRepositoryError(f"{path}: cannot be read: {error.strerror}") from error
        header = _parse(path, raw)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(
            isinstance(value, str) for value in metadata.values()
        ):
            raise ModelRepositoryError(f"{path}: __metadata__ is not a table of texts")
        tensors = sorted(
            (_tensor(path, name, entry, 8 + length) for name, entry in header.items()),
            key=lambda tensor: (tensor.begin, tensor.size_bytes),
        )
        _check_places(path, tensors, 8 + length, size)
        return cls(
            path=path,
            tensors=MappingProxyType({tensor.name: tensor for tensor in tensors}),
            metadata=MappingProxyType(metadata),
            header_bytes=8 + length,
        )

    def __iter__(self) -> Iterator[TensorInfo]:
        return iter(self.tensors.values())

    @property
    def parameters(self) -> int:
        """How many numbers all its tensors have."""
        return sum(tensor.parameters for tensor in self)

    def read_bytes(self, name: str) -> bytes:
        """Return one tensor's bytes.

        Raises:
            ModelRepositoryError: the file has become shorter.

        """
        tensor = self.tensors[name]
        with self.path.open("rb") as stream:
            stream.seek(tensor.begin)
            data = stream.read(tensor.size_bytes)
        if len(data) != tensor.size_bytes:
            raise ModelRepositoryError(f"{self.path}: {name}: the file ends within it")
        return data


def is_fp8(tensor: TensorInfo) -> bool:
    """Tell whether it holds eight-bit floats that torch converts."""
    return tensor.dtype in FP8


def is_float(tensor: TensorInfo) -> bool:
    """Tell whether it holds floats that a weight may come in."""
    return tensor.dtype in FLOATS


def _header_length(path: Path, stream: BinaryIO, size: int) -> int:
    start = stream.read(max(8, len(LFS_POINTER)))
    # A header begins with a brace. Where one stands, what comes before it is a length, whatever
    # else those bytes might mean.
    kind = "" if start[8:9] == b"{" else _other_kind(start)
    if kind:
        raise ModelRepositoryError(f"{path}: {kind}")
    if size < 8:
        raise ModelRepositoryError(
            f"{path}: is not a safetensors file: {size} bytes, of which the header's length is 8"
        )
    length = int.from_bytes(start[:8], "little")
    if length > size - 8:
        what = (
            "was cut short within its header"
            if start[8:9] in (b"{", b"")
            else "is no safetensors file"
        )
        raise ModelRepositoryError(
            f"{path}: {what}: a header of {length} bytes does not fit into {size} bytes"
        )
    if length > MAX_HEADER_BYTES:
        raise ModelRepositoryError(
            f"{path}: a header of {length} bytes; at most {MAX_HEADER_BYTES} are read"
        )
    stream.seek(8)
    return length


def _other_kind(start: bytes) -> str:
    if start.startswith(LFS_POINTER):
        return (
            "is a Git LFS pointer, not the weights themselves; 'git lfs pull' in its repository "
            "fetches them"
        )
    if start.startswith((ZIP, PICKLE)):
        return (
            "is a pickle (a PyTorch .ckpt, .pt or .bin file) under another name; pickles run "
            "code when they are read, so they are not loaded: convert it to safetensors"
        )
    if start.startswith(GGUF):
        return "is a GGUF file (quantised for llama.cpp); weights are loaded from safetensors only"
    if start.startswith(HDF5):
        return "is an HDF5 file; weights are loaded from safetensors only"
    if start.lstrip().startswith((b"<!DOCTYPE", b"<html", b"<!doctype")):
        return "is a web page, not a safetensors file: its download went wrong"
    return ""


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw, object_pairs_hook=lambda pairs: _without_twins(path, pairs))
    except (ValueError, RecursionError) as error:
        raise ModelRepositoryError(
            f"{path}: is no safetensors file, or a damaged one: its header is not JSON"
        ) from error
    if not isinstance(header, dict):
        raise ModelRepositoryError(f"{path}: its header is not a JSON object")
    return header


def _without_twins(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ModelRepositoryError(f"{path}: its header has {twin} twice")
    return found


def _tensor(path: Path, name: str, entry: Any, data_begins: int) -> TensorInfo:
    if not isinstance(entry, dict):
        raise ModelRepositoryError(f"{path}: {name}: its header entry is no JSON object")
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if dtype not in BITS_OF:
        raise ModelRepositoryError(f"{path}: {name}: unknown dtype {dtype!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ModelRepositoryError(f"{path}: {name}: its shape or offsets are no whole numbers")
    begin, end = offsets
    bits = math.prod(shape) * BITS_OF[dtype]
    if end - begin != -(-bits // 8):
        raise ModelRepositoryError(
            f"{path}: {name}: {dtype} of shape {shape} takes {-(-bits // 8)} bytes; its offsets "
            f"give it {end - begin}"
        )
    return TensorInfo(name, dtype, tuple(shape), data_begins + begin, end - begin)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in value
    )


def _check_places(path: Path, tensors: list[TensorInfo], data_begins: int, size: int) -> None:
    """Check that the tensors fill the file from the header to its end, each byte once."""
    expected = data_begins
    for tensor in tensors:
        if tensor.begin < expected:
            raise ModelRepositoryError(f"{path}: {tensor.name} overlaps the tensor before it")
        if tensor.begin > expected:
            raise ModelRepositoryError(
                f"{path}: {tensor.begin - expected} bytes before {tensor.name} belong to no tensor"
            )
        expected = tensor.begin + tensor.size_bytes
    if size < expected:
        raise ModelRepositoryError(
            f"{path}: was cut short: {size} bytes of {expected}; fetch it again"
        )
    if size > expected:
        raise ModelRepositoryError(
            f"{path}: {size - expected} bytes after the last tensor belong to none"
        )
