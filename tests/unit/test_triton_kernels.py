"""What happens where kernels in Triton do not run."""

import logging

import pytest
import torch

from leyden_server.accelerator import group_norm, layer_norm, resnet_block, upsample
from leyden_server.accelerator.triton_kernels import triton_kernels
from leyden_server.denoiser import gated_product, geglu


@pytest.mark.parametrize(
    "module",
    [
        group_norm.KERNELS,
        geglu.KERNELS,
        layer_norm.KERNELS,
        gated_product.KERNELS,
        resnet_block.KERNELS,
        upsample.KERNELS,
    ],
)
def test_where_triton_is_missing_the_log_says_so_once(
    module: str, no_triton: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert triton_kernels(module, torch.device("cpu"), torch.bfloat16) is None
    assert caplog.text.count("torch's operators stand in") == 1
    assert module.rpartition(".")[2] in caplog.text
    assert "triton" in caplog.text
