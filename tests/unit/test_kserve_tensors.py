"""Raw and typed elements of tensors, as tritonclient and KServe's client send them."""

import re
from typing import Any

import pytest

from leyden_server.errors import InvalidRequestError
from leyden_server.gateway.kserve_v2.inference import grpc_service_pb2 as pb
from leyden_server.gateway.kserve_v2.tensors import (
    raw_bytes,
    raw_numbers,
    raw_values,
    typed_values,
)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ("01000000 61", [b"a"]),
        ("02000000 6100", [b"a\0"]),
        ("00000000", [b""]),
        ("01000000 61 02000000 6263", [b"a", b"bc"]),
        ("", []),
    ],
)
def test_texts_are_their_lengths_and_themselves(data: str, values: list[bytes]) -> None:
    raw = bytes.fromhex(data)

    assert raw_values("prompt", "BYTES", len(values), raw) == values
    assert raw_bytes(values) == raw


@pytest.mark.parametrize(
    ("count", "data", "problem"),
    [
        (1, "", "its shape has 1 elements; its bytes have 0"),
        (1, "01000000 61 00000000", "its shape has 1 elements; its bytes have more than 1"),
        (2, "01000000 61", "its shape has 2 elements; its bytes have 1"),
        (1, "010000", "an element's length is cut off at byte 0 of 3"),
        (1, "05000000 61", "an element of 5 bytes begins at byte 4 of 5"),
        (1, "ffffffff", "an element of 4294967295 bytes begins at byte 4 of 4"),
    ],
)
def test_texts_that_are_not_whole_are_refused(count: int, data: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^prompt: {re.escape(problem)}$"):
        raw_values("prompt", "BYTES", count, bytes.fromhex(data))


def test_many_more_texts_than_rows_are_not_all_read() -> None:
    with pytest.raises(InvalidRequestError, match="more than 1"):
        raw_values("prompt", "BYTES", 1, bytes(4 * 2**20))


@pytest.mark.parametrize(
    ("datatype", "values", "data"),
    [
        ("INT32", (1, -2), "01000000 feffffff"),
        ("INT64", (-1420042007188224409,), "67c6697351ff4aec"),
        ("FP32", (1.5,), "0000c03f"),
    ],
)
def test_numbers_are_little_endian(datatype: str, values: tuple[Any, ...], data: str) -> None:
    raw = bytes.fromhex(data)

    assert raw_values("x", datatype, len(values), raw) == values
    assert raw_numbers(datatype, values) == raw


def test_numbers_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="seed: 2 elements of INT64 are 16 bytes; got 8"):
        raw_values("seed", "INT64", 2, bytes(8))


def test_typed_elements_stand_in_the_field_of_their_type() -> None:
    contents = pb.InferTensorContents(int64_contents=[7, -8])

    assert list(typed_values("seed", "INT64", 2, contents)) == [7, -8]
    with pytest.raises(InvalidRequestError, match="seed: its shape has 1 elements; int64_contents"):
        typed_values("seed", "INT64", 1, contents)
    with pytest.raises(InvalidRequestError, match="belong into int_contents; got int64_contents"):
        typed_values("width_px", "INT32", 2, contents)
