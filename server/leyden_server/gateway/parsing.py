"""What came with a call to a message, or an error of ours."""

import re
from typing import TypeAlias, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from leyden_server.errors import FieldViolation, InvalidRequestError

__all__ = ["Body", "JsonBody", "invalid", "parse"]

Request = TypeVar("Request", bound=Message)


class JsonBody(bytes):
    """A message in protobuf's JSON form."""


Body: TypeAlias = bytes
"""A message in protobuf's binary form, or a `JsonBody`."""


def parse(kind: type[Request], data: Body) -> Request:
    """Return the message in `data`.

    gRPC would answer bytes that it cannot decode with UNKNOWN and the names of Python
    classes, where a client is owed INVALID_ARGUMENT; so the handlers take bytes.

    Raises:
        InvalidRequestError: the bytes are no such message.

    """
    if isinstance(data, JsonBody):
        return _parse_json(kind, data)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        violation = FieldViolation("", f"the bytes are not a {kind.DESCRIPTOR.full_name}")
        raise InvalidRequestError((violation,)) from error


def _parse_json(kind: type[Request], data: JsonBody) -> Request:
    """Read JSON; a field that the message has not is an error, since it was meant for something."""
    message = kind()
    try:
        json_format.Parse(data, message)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError((_wrong_json(kind, str(error)),)) from error
    return message


def _wrong_json(kind: type[Message], text: str) -> FieldViolation:
    """Return what is wrong, without quoting a value: it may be a user's prompt."""
    if unknown := re.search(r'has no field named "(\w{1,64})"', text):
        return FieldViolation(unknown[1], f"there is no such field in {kind.DESCRIPTOR.full_name}")
    if wrong := re.search(r"^Failed to parse (\w{1,64}) field", text):
        return FieldViolation(wrong[1], "the value is not of the field's type")
    return FieldViolation("", f"the body is not the JSON of a {kind.DESCRIPTOR.full_name}")


def invalid(field: str, description: str) -> InvalidRequestError:
    """Return the error of one wrong field."""
    return InvalidRequestError((FieldViolation(field, description),))
