"""Bytes to a message, or an error of ours."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from leyden_server.errors import FieldViolation, InvalidRequestError

__all__ = ["invalid", "parse"]

Request = TypeVar("Request", bound=Message)


def parse(kind: type[Request], data: bytes) -> Request:
    """Return the message in `data`.

    gRPC would answer bytes that it cannot decode with UNKNOWN and the names of Python
    classes, where a client is owed INVALID_ARGUMENT; so the handlers take bytes.

    Raises:
        InvalidRequestError: the bytes are no such message.

    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        violation = FieldViolation("", f"the bytes are not a {kind.DESCRIPTOR.full_name}")
        raise InvalidRequestError((violation,)) from error


def invalid(field: str, description: str) -> InvalidRequestError:
    """Return the error of one wrong field."""
    return InvalidRequestError((FieldViolation(field, description),))
