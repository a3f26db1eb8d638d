"""From events to what OpenAI's clients read: one object, or events of a stream."""

import json
import time
from base64 import b64encode
from typing import Any

from leyden_server.generations.events import Image
from leyden_server.stages.contract import PreviewImage

__all__ = ["comment", "completed", "data_event", "images_body", "partial_image"]


def images_body(images: list[Image]) -> dict[str, Any]:
    """Return the answer to a request that is no stream; there is one image at least."""
    first = images[0]
    return {
        "created": int(time.time()),
        "background": "opaque",
        "output_format": first.format.lower(),
        "size": f"{first.width_px}x{first.height_px}",
        "data": [{"b64_json": _text(image.data)} for image in images],
    }


def partial_image(preview: PreviewImage, index: int) -> bytes:
    """Return the event of a preview; `index` counts from 0."""
    return data_event(
        {
            "type": "image_generation.partial_image",
            "b64_json": _text(preview.data),
            "partial_image_index": index,
            **_said(preview.format, preview.width_px, preview.height_px),
        }
    )


def completed(image: Image) -> bytes:
    """Return the event of the image, the last of a stream."""
    return data_event(
        {
            "type": "image_generation.completed",
            "b64_json": _text(image.data),
            **_said(image.format, image.width_px, image.height_px),
        }
    )


def data_event(event: dict[str, Any]) -> bytes:
    """Return an event of a stream."""
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def comment(text: str) -> bytes:
    """Return a line that clients pass over: it keeps proxies from cutting a silent stream."""
    return f": {text}\n\n".encode()


def _said(image_format: str, width_px: int, height_px: int) -> dict[str, Any]:
    return {
        "created_at": int(time.time()),
        "background": "opaque",
        "output_format": image_format.lower(),
        "size": f"{width_px}x{height_px}",
    }


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")
