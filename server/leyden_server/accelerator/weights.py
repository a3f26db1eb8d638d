"""Reads a part's weights, each tensor once, into a module that was built without memory."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import nn

from leyden_server.checkpoint.layout import Parameter
from leyden_server.checkpoint.part_plan import PartPlan, Piece
from leyden_server.checkpoint.safetensors_file import SafetensorsFile, TensorInfo
from leyden_server.errors import ModelRepositoryError

__all__ = ["DTYPES", "Changes", "FileDigests", "fill", "read_tensor", "sha256_of", "without_memory"]

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""The dtypes of the safetensors format that weights come in, as torch calls them."""


class Changes(Protocol):
    """What LoRAs make of a part's parameters."""

    @property
    def names(self) -> frozenset[str]:
        """The parameters that change."""

    def change(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return what a parameter becomes of its float32 values."""


def without_memory(build: Callable[[], Any]) -> Any:
    """Build a module on the meta device: its parameters take no memory and no time."""
    with torch.device("meta"):
        return build().eval()


def fill(
    module: nn.Module,
    plan: PartPlan,
    dtype: torch.dtype,
    *,
    adapters: "Changes | None" = None,
    digests: "FileDigests | None" = None,
) -> None:
    """Give every parameter of `module` its values, in `dtype`, on the CPU.

    A file's tensors are read once and in order, and one at a time beside what stays. What
    `adapters` change is changed in float32, before it becomes `dtype`: a LoRA's share of a weight
    is often smaller than what bfloat16 can add to it.

    Raises:
        ModelRepositoryError: a tensor is not finite, in its file or in `dtype`, or the file has
            changed since its header was read; file and tensor are named.

    """
    own = dict(_places(module))
    tensors = _Tensors(digests)
    try:
        for piece in plan.pieces:
            name = piece.parameter.name
            tensor = tensors.read(piece)
            if adapters is not None and name in adapters.names:
                tensor = adapters.change(name, tensor.to(torch.float32))
            place = own.pop(name, None) or own.pop(name.removeprefix("text_model."))
            _put(*place, _finite(tensor, piece, dtype))
    finally:
        tensors.close()
    assert not own, f"{plan.part}: {sorted(own)[:3]} are in no file"
    assert not any(buffer.is_meta for buffer in module.buffers()), plan.part


def _places(module: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    for prefix, child in module.named_modules():
        for name, parameter in child._parameters.items():
            if parameter is not None:
                yield (f"{prefix}.{name}" if prefix else name), (child, name)


def _put(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    wanted = module._parameters[name]
    assert wanted is not None
    module._parameters[name] = nn.Parameter(tensor.reshape(wanted.shape), requires_grad=False)


def _finite(tensor: torch.Tensor, piece: Piece, dtype: torch.dtype) -> torch.Tensor:
    where = f"{piece.file.path}: {piece.tensor.name}"
    if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        # Every float8 number is one of float16, and torch does not sum float8.
        tensor = tensor.to(torch.float16 if dtype == torch.float16 else torch.bfloat16)
    # The sum of finite numbers can overflow, so it only tells where to look closer.
    if not torch.isfinite(tensor.sum(dtype=torch.float32)) and not torch.isfinite(tensor).all():
        raise ModelRepositoryError(f"{where}: holds NaN or infinity; the file is damaged")
    converted = tensor.to(dtype)
    if dtype == torch.float16 and not torch.isfinite(converted.sum(dtype=torch.float32)):
        raise ModelRepositoryError(
            f"{where}: has numbers that float16 cannot hold; dtype bfloat16 or float32 can"
        )
    return converted


class FileDigests:
    """The SHA-256 of files, taken of their bytes as they are read.

    Of a file all of whose tensors are read it is what `sha256sum` prints, of any other that of
    its header and of the tensors that were read, in order.
    """

    def __init__(self, told: Mapping[Path, str]) -> None:
        """`told` has the digests that are known already; other files' are taken."""
        self._told = {path: digest for path, digest in told.items() if digest}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="digest")
        self._running: dict[Path, Any] = {}
        self._pending: Future[None] | None = None

    def begin(self, file: SafetensorsFile, stream: BinaryIO) -> None:
        """Take the header of a file that is about to be read."""
        if file.path in self._told:
            return
        digest = self._running[file.path] = hashlib.sha256()
        stream.seek(0)
        digest.update(stream.read(file.header_bytes))

    def add(self, file: SafetensorsFile, data: memoryview) -> None:
        """Take a tensor's bytes, beside what the caller does meanwhile; they must not change."""
        self._settle()
        if file.path in self._running:
            self._pending = self._pool.submit(self._running[file.path].update, data)

    def of(self, path: Path) -> str:
        """Return a file's digest as 64 hex digits."""
        self._settle()
        return self._told.get(path) or str(self._running[path].hexdigest())

    def close(self) -> None:
        """End the thread."""
        self._settle()
        self._pool.shutdown()

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None


def read_tensor(file: SafetensorsFile, name: str) -> torch.Tensor:
    """Return one tensor of a file in float32.

    Raises:
        ModelRepositoryError: it holds NaN or infinity, or the file has become shorter.

    """
    info = file.tensors[name]
    data = torch.frombuffer(bytearray(file.read_bytes(name)), dtype=DTYPES[info.dtype])
    tensor = data.reshape(info.shape).to(torch.float32)
    # The sum of finite numbers can overflow, so it only tells where to look closer.
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
        raise ModelRepositoryError(f"{file.path}: {name}: holds NaN or infinity; it is damaged")
    return tensor


def sha256_of(path: Path) -> str:
    """Return a whole file's digest as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Tensors:
    """Reads tensors of files; keeps the last one that pieces share."""

    def __init__(self, digests: FileDigests | None) -> None:
        self._digests = digests
        self._streams: dict[Path, BufferedReader] = {}
        self._shared: tuple[TensorInfo, torch.Tensor] | None = None

    def read(self, piece: Piece) -> torch.Tensor:
        """Return a parameter's values, in its file's dtype or, where it is scaled, float32."""
        if self._shared is not None and self._shared[0] is piece.tensor:
            tensor = self._shared[1]
        else:
            tensor = self._raw(piece.file, piece.tensor)
            if piece.scale is not None:
                tensor = _scaled(tensor, self._raw(piece.file, piece.scale))
            self._shared = (piece.tensor, tensor) if piece.parameter.third is not None else None
        return _as_diffusers_has_it(tensor, piece.parameter) if piece.original else tensor

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()

    def _raw(self, file: SafetensorsFile, info: TensorInfo) -> torch.Tensor:
        stream = self._streams.get(file.path)
        if stream is None:
            stream = self._streams[file.path] = file.path.open("rb")
            if self._digests is not None:
                self._digests.begin(file, stream)
        # One buffer of its own for each tensor: it becomes the weight where the dtype stays.
        buffer = torch.empty(info.size_bytes, dtype=torch.uint8)
        data = memoryview(buffer.numpy())  # type: ignore[arg-type] # numpy's stubs lag behind
        stream.seek(info.begin)
        if stream.readinto(data) != info.size_bytes:
            raise ModelRepositoryError(f"{file.path}: {info.name}: the file ends within it")
        if self._digests is not None:
            self._digests.add(file, data)
        return buffer.view(DTYPES[info.dtype]).reshape(info.shape)


def _scaled(tensor: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    factor = scale.to(torch.float32).reshape(-1, *[1] * (tensor.ndim - 1))
    return tensor.to(torch.float32) * factor


def _as_diffusers_has_it(tensor: torch.Tensor, parameter: Parameter) -> torch.Tensor:
    if parameter.third is not None:
        return tensor.chunk(3)[parameter.third].clone()
    return tensor.T.contiguous() if parameter.transposed else tensor
