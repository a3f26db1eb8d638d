"""One large image on its way through the VAE, part by part."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from leyden_server.stages.contract import FloatArray
from leyden_server.vae.decoder import VaeDecoder
from leyden_server.vae.shared_group_norm import ImageStatistics
from leyden_server.vae.tile_grid import BLEND, TileGrid

__all__ = ["TiledDecoding"]

Item = TypeVar("Item")


class TiledDecoding:
    """Decodes one image with no more memory than a batch of tiles and the image take.

    In two passes over the image. The first gathers the statistics of every GroupNorm, from
    sets of patches that are each spread over the whole image; the second decodes overlapping
    tiles by them and blends their edges. Without the first, which is how diffusers tiles
    (`AutoencoderKL.enable_tiling`), a tile of sky comes out in other colours than in the
    whole. With it the passes come to about twice the work of decoding the image at once,
    less the attention over all of it.

    Tolerance against the image decoded at once, with the embedded model in float32: in
    tiles for 1024 pixels a side, three pictures of 2048 x 2048 differed by 3/255 at most and by
    0.2 on average (55 dB). In tiles for 256 pixels, of which each sample sees less, the worst of
    eight pictures differs by 19/255, 2.5 on average (38 dB), and four pictures in one, night
    beside noon, by 12/255, 2 on average (42 dB): `tests/unit/test_tiled_decoding.py`.
    """

    def __init__(
        self, decoder: VaeDecoder, latents: FloatArray, grid: TileGrid, batch_rows: int
    ) -> None:
        """Take latents (C, H, W) and their grid; a run decodes `batch_rows` tiles."""
        scale = decoder.scale
        self.pixels: NDArray[np.uint8] = np.empty(
            (grid.rows.length * scale, grid.columns.length * scale, 3), dtype=np.uint8
        )
        """The image (H * scale, W * scale, 3), once there are no runs left."""
        self._decoder = decoder
        self._latents = latents
        self._grid = grid
        self._batch_rows = batch_rows
        self._band: FloatArray = np.empty((0, 0, 3), dtype=np.float32)
        self._runs = self._all_runs()

    def run_next(self) -> bool:
        """Run the VAE once; False: there was nothing left to do."""
        return next(self._runs, False)

    def _all_runs(self) -> Iterator[bool]:
        statistics = ImageStatistics()
        for samples in _in_batches(list(self._grid.samples()), self._batch_rows):
            patches = [patch for sample in samples for patch in sample]
            self._decoder.observe(self._latents, patches, statistics)
            yield True
        for tiles in _in_batches(list(self._grid.tiles()), self._batch_rows):
            regions = [self._grid.region(*tile) for tile in tiles]
            decoded = self._decoder.decode_regions(self._latents, regions, statistics)
            for (row, column), pixels in zip(tiles, decoded, strict=True):
                self._place(row, column, pixels)
            yield True

    def _place(self, row: int, column: int, pixels: FloatArray) -> None:
        """Blend a tile (h, w, 3) into its row of tiles; the last one of a row completes it."""
        scale, rows, columns = self._decoder.scale, self._grid.rows, self._grid.columns
        (top, bottom), (left, right) = rows.kept(row), columns.kept(column)
        if column == 0:
            self._start_band((bottom - top) * scale)
        above, before = rows.starts[row], columns.starts[column]
        kept = pixels[
            (top - above) * scale : (bottom - above) * scale,
            (left - before) * scale : (right - before) * scale,
        ]
        kept *= rows.weights(row, scale)[:, None, None]
        kept *= columns.weights(column, scale)[None, :, None]
        self._band[:, left * scale : right * scale] += kept
        if column == len(columns.starts) - 1:
            faded = 0 if row == len(rows.starts) - 1 else BLEND
            self._finish_rows(top * scale, (bottom - faded) * scale)

    def _start_band(self, height: int) -> None:
        band = np.zeros((height, self.pixels.shape[1], 3), dtype=np.float32)
        if self._band.size:  # where the tiles above fade out
            shared = BLEND * self._decoder.scale
            band[:shared] = self._band[-shared:]
        self._band = band

    def _finish_rows(self, top: int, bottom: int) -> None:
        unit = self._band[: bottom - top]
        np.clip(unit, 0, 1, out=unit)
        unit *= 255
        self.pixels[top:bottom] = np.rint(unit, out=unit)


def _in_batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
