"""GroupNorms by given statistics, as tiles have them."""

import numpy as np
import pytest
import torch
from support.group_norm import random_norm

from leyden_server.model_repository import ResolvedModel
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.shared_group_norm import ImageStatistics, SharedGroupNorms
from leyden_server.vae.tile_grid import Patch, Region


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_by_its_own_statistics_is_a_group_norm(dtype: torch.dtype) -> None:
    norm, x = random_norm(dtype, rows=1)
    module = torch.nn.Sequential(norm)
    size = Region(0, 0, 12, 10)
    with torch.inference_mode():
        expected = module(x)
        norms, statistics = SharedGroupNorms(module), ImageStatistics()
        assert torch.equal(module(x), expected)
        with norms.observing([Patch(size, size)], statistics):
            observed = module(x)
        with norms.using(statistics):
            part = module(x[..., :5])
        assert torch.equal(module(x), expected)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(observed, expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(part, expected[..., :5], atol=tolerance, rtol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_decodes_in_half_precision_what_it_does_in_float32(
    random_model: ResolvedModel,
) -> None:
    device = torch.device("cuda")
    half = VaeDecoder(random_model, dtype=torch.bfloat16, device=device)
    whole = VaeDecoder(random_model, dtype=torch.float32, device=device)
    latents = list(np.random.default_rng(0).standard_normal((2, 4, 16, 12)).astype(np.float32))
    pixels, expected = (np.stack(decoder.decode(latents)) for decoder in (half, whole))
    assert np.abs(pixels.astype(int) - expected).mean() < 2
