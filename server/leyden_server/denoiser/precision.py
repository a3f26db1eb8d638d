"""In which precision a UNet runs, and where."""

import logging
from typing import NamedTuple

import torch

from leyden_server.accelerator.device import device_and_dtype
from leyden_server.accelerator.float8 import require_float8_products
from leyden_server.config import UNetDtype
from leyden_server.denoiser.float8_products import Product, chosen_for

__all__ = ["UNetPrecision", "unet_precision"]

logger = logging.getLogger(__name__)


class UNetPrecision(NamedTuple):
    """What `denoiser.dtype` comes to."""

    device: torch.device
    dtype: torch.dtype
    """Of all weights but those of `float8`, and of what passes between the layers."""
    float8: frozenset[Product] = frozenset()
    """The products in 8-bit floats."""


def unet_precision(setting: UNetDtype, *, steps: int) -> UNetPrecision:
    """Return the device that Ray gave and the precision to use for a model of so many steps.

    Raises:
        ConfigError: fp8 is asked for and the device has no such products.

    """
    if setting != "fp8":
        return UNetPrecision(*device_and_dtype(setting))
    device, dtype = device_and_dtype("bfloat16")
    require_float8_products(
        device, setting="denoiser.dtype: fp8", others="auto, float32, bfloat16 and float16"
    )
    products = chosen_for(steps)
    logger.info(
        "denoiser.dtype fp8, a model of %d steps: %s in 8-bit floats, all else in bfloat16",
        steps,
        ", ".join(sorted(products)) or "nothing",
    )
    return UNetPrecision(device, dtype, products)
