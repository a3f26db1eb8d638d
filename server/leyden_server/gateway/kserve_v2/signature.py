"""Which tensors a model takes and gives: the one table of them, the same for every model."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["INPUTS", "OUTPUTS", "PROTOCOL", "STREAMED_ONLY", "VERSION", "TensorSpec"]

VERSION = "1"
"""Every model has this one version."""

PROTOCOL = "kserve.v2"
"""As the metrics name it."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output."""

    datatype: str
    """Its name in requests: BYTES, INT32, INT64, FP32 or UINT8."""
    dims: tuple[int, ...] = (1,)
    """Without the batch's; -1 where a request decides."""
    is_optional: bool = True
    """Of an input: whether the model's default may stand in for it."""


INPUTS: Mapping[str, TensorSpec] = {
    "prompt": TensorSpec("BYTES", is_optional=False),
    "negative_prompt": TensorSpec("BYTES"),
    "seed": TensorSpec("INT64"),
    "num_inference_steps": TensorSpec("INT32"),
    "width_px": TensorSpec("INT32"),
    "height_px": TensorSpec("INT32"),
    "image_count": TensorSpec("INT32"),
    "guidance_scale": TensorSpec("FP32"),
    "output_format": TensorSpec("BYTES"),
}

OUTPUTS: Mapping[str, TensorSpec] = {
    "image": TensorSpec("BYTES"),
    "generated_image": TensorSpec("UINT8", (-1, -1, 3)),
    "seed": TensorSpec("INT64"),
    "progress": TensorSpec("FP32", (3,)),
    "preview": TensorSpec("BYTES"),
}

STREAMED_ONLY = frozenset({"progress", "preview"})
"""Outputs that only the responses of ModelStreamInfer have."""
