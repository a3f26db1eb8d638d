"""Products of linear layers in 8-bit floats (e4m3), twice as fast on a GPU that has them as in 16.

e4m3 (Micikevicius et al. 2022, arXiv 2209.05433) has 3 bits of fraction and reaches from 2^-9 to
448. So each row of a matrix is divided by a scale of its own, which makes its largest number 448:
a layer's weights once, by output channel; what comes in at every run, by token. A token's scale is
taken from that token alone, so what becomes of it does not depend on the others of its batch.

    y = (rounded(x / s) rounded(w / t)^T) s t + bias,   s = max|x| / 448 of each token,
                                                        t = max|w| / 448 of each output channel

A GPU multiplies what is rounded and adds up with the bits that its tensor cores have. torch's
operators add up in float32 on a CPU, where nothing is faster by it: they are there to measure what
the rounding does to a picture.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everywhere
from torch import nn

from leyden_server.accelerator.triton_kernels import kernels_for
from leyden_server.errors import ConfigError

__all__ = [
    "FLOAT8",
    "Float8Linear",
    "Float8Rows",
    "can_be_float8",
    "float8_rows",
    "require_float8_products",
    "rounded_rows",
]

KERNELS = "leyden_server.accelerator.float8_kernels"

FLOAT8 = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest number of e4m3."""
SMALLEST_MAXIMUM = 1e-12
"""What a row's largest magnitude counts as at least: a row of zeros has a scale, too."""
FIRST_CAPABILITY = (8, 9)
"""Compute capability of the first NVIDIA GPUs that multiply in FP8 (Ada); Hopper's is 9.0."""
MULTIPLE = 16
"""Of which both widths of a product's weights have to be multiples."""


class Float8Rows(NamedTuple):
    """Rows of K numbers, each row divided by its scale and rounded."""

    values: torch.Tensor
    """(…, K) float8_e4m3fn, the largest magnitude of each row 448."""
    scales: torch.Tensor
    """(…, 1) float32."""


def rounded_rows(x: torch.Tensor) -> Float8Rows:
    """Round (…, K) of any float dtype by torch's operators, the quotients in float32.

    They need no clamp: a scale is off by a relative 2^-24 at most, and up to 464 all is
    rounded to 448. NaN stays NaN, and a row with an infinity becomes NaN.
    """
    x = x.float()
    scales = x.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST_MAXIMUM) / LARGEST
    return Float8Rows((x / scales).to(FLOAT8), scales)


def float8_rows(x: torch.Tensor) -> Float8Rows:
    """Round (…, K), on a GPU in one kernel."""
    kernels = kernels_for(x, KERNELS)
    return rounded_rows(x) if kernels is None else Float8Rows(*kernels.quantize_rows(x))


def can_be_float8(linear: nn.Linear) -> bool:
    """Whether a layer's widths are such as `Float8Linear` can have."""
    return linear.in_features % MULTIPLE == 0 and linear.out_features % MULTIPLE == 0


class Float8Linear(nn.Module):
    """A linear layer whose product is in 8-bit floats; for inference alone."""

    weight: torch.Tensor
    """(N, K) float8_e4m3fn."""
    scales: torch.Tensor
    """(1, N) float32: one for each output channel."""

    def __init__(self, linear: nn.Linear) -> None:
        """Round the weights of `linear`, whose widths `can_be_float8`; its bias stays as it is.

        On a GPU the layer is in bfloat16, which is what such products come in there.
        """
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype: torch.dtype = linear.weight.dtype
        rows = rounded_rows(linear.weight.detach())
        self.register_buffer("weight", rows.values)
        self.register_buffer("scales", rows.scales.t().contiguous())
        self.bias = linear.bias

    def forward(self, x: torch.Tensor | Float8Rows) -> torch.Tensor:
        """Return (…, N) of (…, K), rounded already or not, in the dtype of the layer it was."""
        rows = x if isinstance(x, Float8Rows) else float8_rows(x)
        if not rows.values.is_cuda:
            y = F.linear(rows.values.float(), self.weight.float()) * rows.scales * self.scales
            return (y if self.bias is None else y + self.bias.float()).to(self.dtype)
        product: torch.Tensor = torch._scaled_mm(
            rows.values.flatten(0, -2),
            self.weight.t(),
            scale_a=rows.scales.flatten(0, -2),
            scale_b=self.scales,
            bias=self.bias,
            out_dtype=self.dtype,
            # The tensor cores' own sums; float32's between every few products cost time.
            use_fast_accum=True,
        )
        return product.view(*rows.values.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """As torch's own layer shows itself."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def require_float8_products(device: torch.device, *, setting: str, others: str) -> None:
    """Raise ConfigError where the device has no FP8 products, or this torch cannot use them.

    Args:
        device: where the layers are to run.
        setting: what asks for them, for the error.
        others: what can be set there instead.

    """
    needs = (
        f"{setting} needs a GPU that multiplies in FP8 (NVIDIA's of compute capability 8.9 or "
        "higher: Ada, Hopper, Blackwell)"
    )
    if device.type != "cuda":
        raise ConfigError(f"{needs} and this stage is on {device.type}; {others} run there")
    if torch.version.cuda is None:
        raise ConfigError(f"{needs} and this torch is for others; {others} run there")
    capability = torch.cuda.get_device_capability(device)
    if capability < FIRST_CAPABILITY:
        name = torch.cuda.get_device_name(device)
        raise ConfigError(
            f"{needs} and this stage is on {name} of {capability[0]}.{capability[1]}; "
            f"{others} run there"
        )
    layer = nn.Linear(MULTIPLE, MULTIPLE, device=device, dtype=torch.bfloat16)
    try:
        with torch.inference_mode():
            Float8Linear(layer)(layer.weight)
        torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        raise
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"{setting} does not run with torch {torch.__version__} on this GPU: "
            f"{str(error).strip().partition(chr(10))[0]}; {others} run there"
        ) from error
