"""How the VAE runs: eagerly or compiled for a size, and what is left to eager.

dynamo traces and guards here as it does in the server; its `eager` backend then runs the graph
as it stands, in place of inductor, which takes a minute and a C++ compiler.
"""

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config as inductor_config

from leyden_server.config import VaeExecution
from leyden_server.errors import ConfigError
from leyden_server.model_repository import ResolvedModel
from leyden_server.stages.contract import FloatArray
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.shared_group_norm import ImageStatistics
from leyden_server.vae.tile_grid import Patch, Region

SIDE = 8


def load(model: ResolvedModel, execution: VaeExecution) -> VaeDecoder:
    return VaeDecoder(model, dtype=torch.float32, device=torch.device("cpu"), execution=execution)


def random_latents(count: int, side: int = SIDE) -> list[FloatArray]:
    return list(np.random.default_rng(0).standard_normal((count, 4, side, side)).astype(np.float32))


def compiled_forms() -> int:
    return int(counters["stats"]["unique_graphs"])


def test_what_is_warmed_up_is_compiled_once_for_one_image_and_once_for_several(
    random_model: ResolvedModel, without_inductor: None
) -> None:
    eager, compiled = load(random_model, "eager"), load(random_model, "compile")
    for rows in (1, 2, 4):
        compiled.time_rows(rows, SIDE, SIDE)
    assert compiled_forms() == 2
    latents = random_latents(4)
    for rows in (1, 2, 3, 4):
        found, expected = (np.stack(d.decode(latents[:rows])) for d in (compiled, eager))
        assert np.abs(found.astype(int) - expected).max() <= 1
    assert compiled_forms() == 2


def test_another_size_is_not_compiled(random_model: ResolvedModel, without_inductor: None) -> None:
    compiled = load(random_model, "compile")
    compiled.time_rows(1, SIDE, SIDE)
    compiled.decode(random_latents(1, side=12))
    assert compiled_forms() == 1


def test_tiles_of_a_warmed_up_size_are_decoded_by_the_whole_images_statistics(
    random_model: ResolvedModel, without_inductor: None
) -> None:
    eager, compiled = load(random_model, "eager"), load(random_model, "compile")
    compiled.time_rows(1, SIDE, SIDE)
    latents = random_latents(1, side=2 * SIDE)[0]
    tile = Region(0, 0, SIDE, SIDE)
    parts = []
    for decoder in (eager, compiled):
        statistics = ImageStatistics()
        decoder.observe(latents, [Patch(tile, tile)], statistics)
        parts.append(decoder.decode_regions(latents, [tile], statistics))
    np.testing.assert_allclose(parts[1], parts[0], atol=1e-5)
    assert compiled_forms() == 1


def test_a_machine_without_a_compiler_is_told_so(random_model: ResolvedModel) -> None:
    torch.compiler.reset()
    decoder = load(random_model, "compile")
    missing = inductor_config.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False})
    refused = r"vae\.vae_execution: torch\.compile failed"
    with missing, pytest.raises(ConfigError, match=refused):
        decoder.time_rows(1, SIDE, SIDE)
