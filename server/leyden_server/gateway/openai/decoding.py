"""From the JSON of OpenAI's images API to what the house understands.

Nothing is ignored: what the API has and Leyden has not is an error that names the field, and so is
what neither has.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from leyden_server.errors import FieldViolation, InvalidRequestError
from leyden_server.gateway.parsing import invalid
from leyden_server.generations.parameters import GenerationRequest
from leyden_server.generations.rules import Vocabulary

__all__ = ["VOCABULARY", "Asked", "decode"]

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}

VOCABULARY = Vocabulary(
    fields={
        "width_px": "size",
        "height_px": "size",
        "image_count": "n",
        "output_quality": "output_compression",
    },
    formats={ours: name for name, ours in FORMATS.items()},
)

MAX_PARTIAL_IMAGES = 3

UNSUPPORTED = {
    "background": "images are opaque",
    "moderation": "this server moderates nothing",
    "quality": "a model's denoise steps decide it, and this API cannot name them",
    "style": "say it in the prompt",
}
"""What the API has and Leyden has not, by field, and why."""

SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    request: GenerationRequest
    streams: bool
    partial_images: int
    """Of a stream: how many previews it is to have."""


def decode(body: bytes) -> Asked:
    """Read a request.

    Raises:
        InvalidRequestError: a field is wrong, or is not there; all of them are named.

    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid("", "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise invalid("", "the body is not a JSON object")
    given = {name: value for name, value in fields.items() if value is not None}
    return _Reader(given).asked()


class _Reader:
    """Takes fields out of an object, and keeps what is wrong with them."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._wrong: list[FieldViolation] = []

    def asked(self) -> Asked:
        for field, why in UNSUPPORTED.items():
            if self._given.pop(field, None) is not None:
                self._refuse(field, f"this server cannot do it: {why}")
        width_px, height_px = self._size()
        request = GenerationRequest(
            prompt=self._text("prompt", "required"),
            model=self._text("model"),
            image_count=self._integer("n", 1, None),
            width_px=width_px,
            height_px=height_px,
            output_format=self._format(),
            output_quality=self._integer("output_compression", 1, 100),
        )
        streams = self._flag("stream")
        partial_images = self._integer("partial_images", 0, MAX_PARTIAL_IMAGES)
        if partial_images and not streams:
            self._refuse("partial_images", "for streams alone (stream: true)")
        if streams and request.image_count > 1:
            self._refuse("n", "1 in a stream, whose events do not say which image they are of")
        self._text("user")  # whose it is the key says; nothing is kept of this
        self._response_format()
        for field in self._given:
            self._refuse(field[:64], "there is no such field")
        if self._wrong:
            raise InvalidRequestError(tuple(self._wrong))
        return Asked(request, streams, partial_images)

    def _refuse(self, field: str, why: str) -> None:
        self._wrong.append(FieldViolation(field, why))

    def _take(self, field: str, fits: Callable[[Any], bool], rule: str) -> Any:
        """Return a value that fits; None: there is none, or it does not."""
        value = self._given.pop(field, None)
        if value is None or fits(value):
            return value
        self._refuse(field, rule)
        return None

    def _text(self, field: str, missing: str = "") -> str:
        was_given = field in self._given
        value = self._take(field, lambda value: isinstance(value, str), "a string")
        if missing and not was_given:
            self._refuse(field, missing)
        return value or ""

    def _flag(self, field: str) -> bool:
        return bool(self._take(field, lambda value: isinstance(value, bool), "true or false"))

    def _integer(self, field: str, least: int, most: int | None) -> int:
        def fits(value: Any) -> bool:
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            return is_integer and least <= value <= (2**31 - 1 if most is None else most)

        rule = f"an integer, at least {least}" if most is None else f"an integer, {least} to {most}"
        value = self._take(field, fits, rule)
        return 0 if value is None else int(value)

    def _size(self) -> tuple[int, int]:
        def fits(value: Any) -> bool:
            return value == "auto" or (isinstance(value, str) and SIZE.fullmatch(value) is not None)

        size = self._take("size", fits, "WIDTHxHEIGHT in pixels, or auto")
        if size is None or size == "auto":
            return 0, 0
        width, _, height = size.partition("x")
        return int(width), int(height)

    def _format(self) -> str:
        def fits(value: Any) -> bool:
            return isinstance(value, str) and value in FORMATS

        value = self._take("output_format", fits, f"one of {', '.join(FORMATS)}")
        return "" if value is None else FORMATS[value]

    def _response_format(self) -> None:
        self._take(
            "response_format",
            lambda value: value == "b64_json",
            "b64_json: this server keeps no images that a URL could lead to",
        )
