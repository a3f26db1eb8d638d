"""The dataset on disk: pictures in memory-mappable shards, captions and attributes beside.

A folder holds

    recipe.json                       count, seed and format of the dataset
    shards/<width>x<height>-<k>.npy   uint8 (n, height, width, 3)
    metadata.npz                      indices, attribute classes and seeds of each bucket
    captions.jsonl                    one line a picture: index, captions, what each states

Picture i depends on (seed, i) alone: neither the number of workers, nor a pause, nor the machine
changes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from leyden_training.data.captions import Caption
from leyden_training.data.items import SIZE_BUCKETS, Item, describe
from leyden_training.data.render_workers import render_shards
from leyden_training.data.scene import ATTRIBUTES, attribute_indices

__all__ = ["SHARD_PICTURES", "Bucket", "Dataset", "load_dataset", "render_dataset"]

SHARD_PICTURES = 512
_FORMAT = 1


@dataclass(frozen=True)
class Bucket:
    """The pictures of one size.

    Attributes:
        shards: memory maps, uint8 (n, height_px, width_px, 3) each.
        indices: (N,) int64, each picture's index in the dataset.
        attributes: (N, len(ATTRIBUTES)) int64, class indices in the order of ATTRIBUTES.
        captions: N tuples of CAPTIONS_PER_PICTURE captions.

    """

    width_px: int
    height_px: int
    shards: tuple[npt.NDArray[np.uint8], ...]
    indices: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.int64]
    captions: tuple[tuple[Caption, ...], ...]

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, position: int) -> npt.NDArray[np.uint8]:
        """Return picture `position` of the bucket, uint8 (height_px, width_px, 3)."""
        if not 0 <= position < len(self):
            raise IndexError(f"position: {position} is outside [0, {len(self)})")
        shard, row = divmod(position, SHARD_PICTURES)
        return np.asarray(self.shards[shard][row])


@dataclass(frozen=True)
class Dataset:
    """A rendered dataset; `buckets` by (width, height) in pixels."""

    folder: Path
    count: int
    seed: int
    buckets: dict[tuple[int, int], Bucket]


def render_dataset(
    folder: Path,
    *,
    count: int,
    seed: int,
    workers: int,
    size_buckets: dict[tuple[int, int], float] | None = None,
) -> None:
    """Render `count` pictures into `folder` with `workers` processes.

    Finished shards of an earlier run of the same recipe are kept. Ctrl-C ends the workers,
    removes half-written shards and leaves the finished ones.

    Raises:
        ValueError: if an argument is out of range, or the folder holds another recipe.

    """
    for name, value, least in (("count", count, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise ValueError(f"{name}: {value} is below {least}")
    shares = size_buckets or SIZE_BUCKETS
    shards_folder = folder / "shards"
    shards_folder.mkdir(parents=True, exist_ok=True)
    _keep_recipe(folder, count, seed, shares)
    for leftover in shards_folder.glob("*.part"):
        leftover.unlink()
    by_size: dict[tuple[int, int], list[Item]] = {size: [] for size in shares}
    for index in range(count):
        item = describe(seed, index, shares)
        by_size[item.width_px, item.height_px].append(item)
    _write_metadata(folder, by_size)
    jobs = [
        (
            shards_folder / f"{width}x{height}-{start // SHARD_PICTURES:05d}.npy",
            items[start : start + SHARD_PICTURES],
        )
        for (width, height), items in by_size.items()
        for start in range(0, len(items), SHARD_PICTURES)
    ]
    done = sum(len(items) for path, items in jobs if path.exists())
    waiting = [(path, items) for path, items in jobs if not path.exists()]
    with _progress() as progress:
        task = progress.add_task("render", total=count, completed=done)
        for rendered in render_shards(waiting, workers):
            progress.advance(task, rendered)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def _keep_recipe(folder: Path, count: int, seed: int, shares: dict[tuple[int, int], float]) -> None:
    """Write the recipe, or check that the folder's is the same."""
    recipe = {
        "format": _FORMAT,
        "count": count,
        "seed": seed,
        "size_buckets": {f"{width}x{height}": share for (width, height), share in shares.items()},
    }
    path = folder / "recipe.json"
    if path.exists():
        found = json.loads(path.read_text())
        for name, value in recipe.items():
            if found.get(name) != value:
                raise ValueError(
                    f"folder: {folder} holds a dataset with {name} {found.get(name)}, "
                    f"not {value}; choose another folder"
                )
        return
    _replace(path, json.dumps(recipe, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def _write_metadata(folder: Path, by_size: dict[tuple[int, int], list[Item]]) -> None:
    arrays: dict[str, npt.NDArray[np.int64]] = {}
    lines = []
    for (width, height), items in by_size.items():
        name = f"{width}x{height}"
        classes = [attribute_indices(item.scene) for item in items]
        arrays[f"{name}-indices"] = np.array([item.index for item in items], np.int64)
        arrays[f"{name}-attributes"] = np.array(classes, np.int64).reshape(-1, len(ATTRIBUTES))
        for item in items:
            captions = [[c.text, sorted(c.stated)] for c in item.captions]
            lines.append(json.dumps({"index": item.index, "captions": captions}))
    part = folder / "metadata.npz.part"
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    part.replace(folder / "metadata.npz")
    _replace(folder / "captions.jsonl", "\n".join(lines) + "\n")


def load_dataset(folder: Path) -> Dataset:
    """Open a rendered dataset; pictures stay on disk until they are read.

    Raises:
        FileNotFoundError: if the folder holds no dataset or its rendering did not end.

    """
    recipe_path = folder / "recipe.json"
    if not recipe_path.exists():
        raise FileNotFoundError(f"folder: {folder} holds no dataset (no recipe.json)")
    recipe = json.loads(recipe_path.read_text())
    captions: dict[int, tuple[Caption, ...]] = {}
    with (folder / "captions.jsonl").open() as file:
        for line in file:
            entry = json.loads(line)
            captions[entry["index"]] = tuple(
                Caption(text, frozenset(stated)) for text, stated in entry["captions"]
            )
    buckets = {}
    with np.load(folder / "metadata.npz") as metadata:
        for name in recipe["size_buckets"]:
            width, height = (int(part) for part in name.split("x"))
            indices = metadata[f"{name}-indices"]
            buckets[width, height] = Bucket(
                width_px=width,
                height_px=height,
                shards=_open_shards(folder, name, len(indices)),
                indices=indices,
                attributes=metadata[f"{name}-attributes"],
                captions=tuple(captions[int(index)] for index in indices),
            )
    return Dataset(folder, recipe["count"], recipe["seed"], buckets)


def _open_shards(folder: Path, name: str, count: int) -> tuple[npt.NDArray[np.uint8], ...]:
    shards = []
    for shard in range(-(-count // SHARD_PICTURES)):
        path = folder / "shards" / f"{name}-{shard:05d}.npy"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: render the dataset again to finish it")
        shards.append(np.load(path, mmap_mode="r"))
    return tuple(shards)
