"""The elements of tensors: from raw bytes or typed contents to values, and to raw bytes.

A raw element of BYTES is its length in 4 bytes, little-endian, and then itself; those of numbers
stand side by side, little-endian. Typed contents have a field for each type.
"""

import struct
from collections.abc import Sequence
from typing import Any

from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.parsing import invalid

__all__ = ["Values", "raw_bytes", "raw_numbers", "raw_values", "typed_values"]

Values = Sequence[Any]
"""bytes, int or float, as the datatype has it."""

LENGTH = struct.Struct("<I")

FORMATS = {"INT32": "i", "INT64": "q", "FP32": "f"}
"""How `struct` calls the types of numbers."""

FIELDS = {
    "BYTES": "bytes_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
}
"""In which field typed contents have them."""


def raw_values(name: str, datatype: str, count: int, data: bytes) -> Values:
    """Return the `count` elements in `data`.

    Raises:
        InvalidRequestError: of the input `name`; the bytes are not so many elements.

    """
    if datatype == "BYTES":
        return _raw_texts(name, count, data)
    elements = struct.Struct(f"<{count}{FORMATS[datatype]}")
    if len(data) != elements.size:
        raise invalid(
            name,
            f"{count} elements of {datatype} are {elements.size} bytes; got {len(data)}",
        )
    return elements.unpack(data)


def typed_values(name: str, datatype: str, count: int, contents: pb.InferTensorContents) -> Values:
    """Return the `count` elements in `contents`. Raises as `raw_values` does."""
    field = FIELDS[datatype]
    for other, _ in contents.ListFields():
        if other.name != field:
            raise invalid(name, f"elements of {datatype} belong into {field}; got {other.name}")
    values: Values = getattr(contents, field)
    if len(values) != count:
        raise invalid(name, f"its shape has {count} elements; {field} has {len(values)}")
    return values


def raw_bytes(elements: Sequence[bytes]) -> bytes:
    """Return the raw form of a BYTES tensor."""
    return b"".join(part for each in elements for part in (LENGTH.pack(len(each)), each))


def raw_numbers(datatype: str, elements: Sequence[int] | Sequence[float]) -> bytes:
    """Return the raw form of a tensor of numbers."""
    return struct.pack(f"<{len(elements)}{FORMATS[datatype]}", *elements)


def _raw_texts(name: str, count: int, data: bytes) -> list[bytes]:
    found: list[bytes] = []
    position = 0
    while position < len(data) and len(found) <= count:
        start = position + LENGTH.size
        if start > len(data):
            raise invalid(name, f"an element's length is cut off at byte {position} of {len(data)}")
        (size,) = LENGTH.unpack_from(data, position)
        position = start + size
        if position > len(data):
            raise invalid(name, f"an element of {size} bytes begins at byte {start} of {len(data)}")
        found.append(data[start:position])
    if len(found) != count:
        got = f"more than {count}" if len(found) > count else len(found)
        raise invalid(name, f"its shape has {count} elements; its bytes have {got}")
    return found
