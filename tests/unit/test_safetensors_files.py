"""Files that are damaged or of another kind are refused by name before a weight is read."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from leyden_server.checkpoint.safetensors_file import SafetensorsFile
from leyden_server.errors import ModelRepositoryError

Write = Callable[[Path], object]


def packed(header: dict[str, Any] | str, data: bytes = b"") -> bytes:
    text = header if isinstance(header, str) else json.dumps(header)
    return len(text).to_bytes(8, "little") + text.encode() + data


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def whole(path: Path) -> bytes:
    weights = {"a": torch.ones(4), "b": torch.zeros(2, 2)}
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    return path.read_bytes()


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", "weights")


REFUSED: dict[str, tuple[Write, str]] = {
    "empty": (lambda f: f.write_bytes(b""), "is not a safetensors file: 0 bytes"),
    "cut in its data": (lambda f: f.write_bytes(whole(f)[:-5]), "was cut short"),
    "cut in its header": (
        lambda f: f.write_bytes(whole(f)[:40]),
        "was cut short within its header",
    ),
    "longer than its tensors": (
        lambda f: f.write_bytes(whole(f) + b"xyz"),
        "3 bytes after the last tensor belong to none",
    ),
    "a header of more than the file": (
        lambda f: f.write_bytes((1 << 40).to_bytes(8, "little") + b"{}" + bytes(64)),
        "does not fit into 74 bytes",
    ),
    "overlapping offsets": (
        lambda f: f.write_bytes(
            packed({"a": tensor(0, 16, [4]), "b": tensor(8, 24, [4])}, bytes(24))
        ),
        "b overlaps the tensor before it",
    ),
    "a hole": (
        lambda f: f.write_bytes(
            packed({"a": tensor(0, 16, [4]), "b": tensor(20, 36, [4])}, bytes(36))
        ),
        "4 bytes before b belong to no tensor",
    ),
    "offsets beyond the end": (
        lambda f: f.write_bytes(packed({"a": tensor(0, 1600, [400])}, bytes(16))),
        "was cut short",
    ),
    "offsets that do not fit the shape": (
        lambda f: f.write_bytes(packed({"a": tensor(0, 16, [5])}, bytes(16))),
        "a: F32 of shape [5] takes 20 bytes",
    ),
    "a negative shape": (
        lambda f: f.write_bytes(packed({"a": tensor(0, 16, [-4])}, bytes(16))),
        "a: its shape or offsets are no whole numbers",
    ),
    "an unknown dtype": (
        lambda f: f.write_bytes(packed({"a": tensor(0, 16, [4], "F31")}, bytes(16))),
        "a: unknown dtype 'F31'",
    ),
    "a tensor twice": (
        lambda f: f.write_bytes(
            packed('{"a": %s, "a": %s}' % ((json.dumps(tensor(0, 16, [4])),) * 2), bytes(16))
        ),
        "its header has a twice",
    ),
    "a header that is no JSON": (
        lambda f: f.write_bytes(packed("{not json")),
        "its header is not JSON",
    ),
    "a Git LFS pointer": (
        lambda f: f.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 6938040706\n"
        ),
        "is a Git LFS pointer",
    ),
    "a pickle of today": (zipped, "is a pickle"),
    "a pickle of old": (
        lambda f: torch.save({"a": torch.ones(2)}, f, _use_new_zipfile_serialization=False),
        "is a pickle",
    ),
    "GGUF": (lambda f: f.write_bytes(b"GGUF" + bytes(60)), "is a GGUF file"),
    "a web page": (
        lambda f: f.write_text("<!DOCTYPE html><html>404: not found</html>"),
        "is a web page",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path: Path, kind: str) -> None:
    write, said = REFUSED[kind]
    file = tmp_path / "weights.safetensors"
    write(file)
    with pytest.raises(ModelRepositoryError) as caught:
        SafetensorsFile.read(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_is_read_as_the_formats_own_reader_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "all.safetensors"
    weights = {
        "float": torch.randn(3, 5),
        "half": torch.randn(2).half(),
        "brain": torch.randn(2, 0, 4).bfloat16(),
        "eight": torch.randn(4, 4).to(torch.float8_e4m3fn),
        "number": torch.tensor(7),
        "flags": torch.tensor([True, False]),
    }
    safetensors.torch.save_file(weights, file, {"format": "pt", "made by": "a test"})
    read = SafetensorsFile.read(file)

    assert read.metadata == {"format": "pt", "made by": "a test"}
    with safetensors.safe_open(file, "pt") as reader:
        assert {*reader.keys()} == {*read.tensors}
        for name, info in read.tensors.items():
            one = reader.get_slice(name)
            assert (info.dtype, list(info.shape)) == (one.get_dtype(), list(one.get_shape()))
            raw = weights[name].contiguous().flatten().view(torch.uint8).numpy().tobytes()
            assert read.read_bytes(name) == raw


def test_a_header_whose_length_begins_as_a_pickle_does_is_read(tmp_path: Path) -> None:
    """A length of 0x80 is the first byte of an old pickle, too."""
    header = {"a": tensor(0, 16, [4])}
    spaces = 0x80 - len(json.dumps(header))
    file = tmp_path / "weights.safetensors"
    file.write_bytes(packed(json.dumps(header) + " " * spaces, bytes(16)))
    assert SafetensorsFile.read(file).tensors["a"].shape == (4,)
