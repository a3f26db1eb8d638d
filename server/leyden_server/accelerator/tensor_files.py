"""Reads tensors of safetensors files: each once, into memory that is lent, hashed on the way."""

import hashlib
import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from queue import Queue
from threading import Lock
from types import TracebackType
from typing import Any, BinaryIO, Self

import torch

from leyden_server.checkpoint.layout import Parameter
from leyden_server.checkpoint.part_plan import Piece
from leyden_server.checkpoint.safetensors_file import SafetensorsFile, TensorInfo
from leyden_server.errors import ModelRepositoryError

__all__ = [
    "DTYPES",
    "Buffer",
    "Buffers",
    "FileDigests",
    "Tensors",
    "is_finite",
    "read_tensor",
    "sha256_of",
]

EMPTY = torch.empty(0)

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""The dtypes of the safetensors format that weights come in, as torch calls them."""


def is_finite(tensor: torch.Tensor) -> bool:
    """Tell whether it holds neither NaN nor infinity; a tenth of the time of `torch.isfinite`."""
    if tensor.numel() == 0:
        return True
    least, most = torch.aminmax(tensor)  # NaN where there is one
    return math.isfinite(least) and math.isfinite(most)


def read_tensor(file: SafetensorsFile, name: str) -> torch.Tensor:
    """Return one tensor of a file in float32.

    Raises:
        ModelRepositoryError: it holds NaN or infinity, or the file has become shorter.

    """
    info = file.tensors[name]
    data = torch.frombuffer(bytearray(file.read_bytes(name)), dtype=DTYPES[info.dtype])
    tensor = data.reshape(info.shape).to(torch.float32)
    if not is_finite(tensor):
        raise ModelRepositoryError(
            f"{file.path}: {name}: holds NaN or infinity; the file is damaged"
        )
    return tensor


def sha256_of(path: Path) -> str:
    """Return a whole file's digest as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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

    def add(self, file: SafetensorsFile, data: memoryview) -> "Future[None] | None":
        """Take a tensor's bytes beside what the caller does; return what ends when they are."""
        self._settle()
        if file.path in self._running:
            self._pending = self._pool.submit(self._running[file.path].update, data)
        return self._pending

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


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory that tensors are read into which become something else."""

    memory: torch.Tensor = EMPTY
    """uint8, as in the file."""
    wide: torch.Tensor = EMPTY
    """float32, for what is to be changed."""
    users: int = 1
    """Of those that it is lent to, how many have not given it back."""
    is_shared: bool = False
    hashed: "Future[None] | None" = None

    def in_float32(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy in float32, contiguous, in memory that is here already where it fits."""
        count = tensor.numel()
        if self.wide.numel() < count:
            self.wide = torch.empty(count, dtype=torch.float32)
        return self.wide[:count].view(tensor.shape).copy_(tensor)


class Buffers:
    """Lends buffers again and again: what is freed in between would not all go back."""

    def __init__(self, count: int) -> None:
        self._idle: Queue[Buffer] = Queue()
        self._lock = Lock()
        for _ in range(count):
            self._idle.put(Buffer())

    def lend(self, size_bytes: int, users: int) -> Buffer:
        """Return one of at least that size, which each of its users puts back."""
        lent = self._idle.get()
        lent.users, lent.is_shared = users, users > 1
        if lent.hashed is not None:
            lent.hashed.result()
        if lent.memory.nbytes < size_bytes:
            lent.memory = torch.empty(size_bytes, dtype=torch.uint8)
        return lent

    def put(self, buffer: Buffer) -> None:
        """Take one back."""
        with self._lock:
            buffer.users -= 1
            is_idle = buffer.users == 0
        if is_idle:
            self._idle.put(buffer)


class Tensors:
    """Reads tensors of files; keeps the last one that pieces share."""

    def __init__(self, buffers: Buffers, digests: FileDigests | None) -> None:
        self._buffers = buffers
        self._digests = digests
        self._streams: dict[Path, BufferedReader] = {}
        self._shared: tuple[TensorInfo, torch.Tensor, Buffer | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in self._streams.values():
            stream.close()

    def read(self, piece: Piece, *, stays: bool) -> tuple[torch.Tensor, Buffer | None]:
        """Return a parameter's values, in its file's dtype or, where it is scaled, float32.

        Where they do not stay as they are, they lie in a buffer that the caller gives back.
        """
        parameter = piece.parameter
        if self._shared is not None and self._shared[0] is piece.tensor:
            _, tensor, lent = self._shared
            return _as_diffusers_has_it(tensor, parameter), lent
        is_shared = piece.original and parameter.third is not None
        lent = None
        if not stays:
            lent = self._buffers.lend(piece.tensor.size_bytes, 3 if is_shared else 1)
        tensor = self._raw(piece.file, piece.tensor, lent)
        if piece.scale is not None:
            tensor = _scaled(tensor, self._raw(piece.file, piece.scale, None))
        self._shared = (piece.tensor, tensor, lent) if is_shared else None
        return _as_diffusers_has_it(tensor, parameter) if piece.original else tensor, lent

    def _raw(self, file: SafetensorsFile, info: TensorInfo, lent: Buffer | None) -> torch.Tensor:
        stream = self._streams.get(file.path)
        if stream is None:
            stream = self._streams[file.path] = file.path.open("rb")
            if self._digests is not None:
                self._digests.begin(file, stream)
        # A tensor that stays has memory of its own, which becomes the weight.
        memory = torch.empty(info.size_bytes, dtype=torch.uint8) if lent is None else lent.memory
        memory = memory[: info.size_bytes]
        data = memoryview(memory.numpy())  # type: ignore[arg-type] # numpy's stubs lag behind
        stream.seek(info.begin)
        if stream.readinto(data) != info.size_bytes:
            raise ModelRepositoryError(f"{file.path}: {info.name}: the file ends within it")
        if self._digests is not None:
            hashed = self._digests.add(file, data)
            if lent is not None:
                lent.hashed = hashed
        return memory.view(DTYPES[info.dtype]).reshape(info.shape)


def _scaled(tensor: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    factor = scale.to(torch.float32).reshape(-1, *[1] * (tensor.ndim - 1))
    return tensor.to(torch.float32) * factor


def _as_diffusers_has_it(tensor: torch.Tensor, parameter: Parameter) -> torch.Tensor:
    if parameter.third is not None:
        return tensor.chunk(3)[parameter.third]
    return tensor.T if parameter.transposed else tensor
