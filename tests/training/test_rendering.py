"""The renderer's pictures, and the dataset that is made of them."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from leyden_training.data import dataset as dataset_module
from leyden_training.data.dataset import SHARD_PICTURES, Dataset, load_dataset, render_dataset
from leyden_training.data.items import SIZE_BUCKETS, describe, size_buckets
from leyden_training.data.render import MAX_SIZE_PX, MIN_SIZE_PX, render
from leyden_training.data.scene import (
    ATTRIBUTES,
    EXTRAS,
    SKIES,
    Extra,
    Scene,
    Sky,
    Style,
    Terrain,
    Time,
    attribute_indices,
    sample_scene,
)

SMALL_BUCKETS = {(64, 64): 0.7, (80, 64): 0.2, (64, 80): 0.1}


def plain_scene(**changes: object) -> Scene:
    attributes: dict[str, object] = {
        "time": Time.SUNSET,
        "terrain": Terrain.MOUNTAINS,
        "sky": Sky.CLEAR,
        "extras": frozenset(),
        "style": Style.PHOTOGRAPH,
    }
    return Scene(**(attributes | changes))  # type: ignore[arg-type]


def mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float32) - second).mean())


@pytest.mark.parametrize(("time", "terrain"), list(itertools.product(Time, Terrain)))
def test_every_terrain_time_and_style_renders(time: Time, terrain: Terrain) -> None:
    for place, style in enumerate(Style):
        skies = list(SKIES[time])
        scene = Scene(time, terrain, skies[place % len(skies)], frozenset(EXTRAS[terrain]), style)
        with np.errstate(invalid="raise", divide="raise"):
            picture = render(scene, width_px=96, height_px=80, seed=place)
        assert picture.dtype == np.uint8
        assert picture.shape == (80, 96, 3)
        assert picture.std() > 12, f"{scene} is flat"


def test_the_same_seed_is_the_same_picture_and_another_is_not() -> None:
    scene = plain_scene(extras=frozenset({Extra.TREES, Extra.CABIN}))
    first = render(scene, width_px=96, height_px=96, seed=5)
    assert np.array_equal(first, render(scene, width_px=96, height_px=96, seed=5))
    assert mean_difference(first, render(scene, width_px=96, height_px=96, seed=6)) > 5


@pytest.mark.parametrize(
    "changes",
    [
        {"time": Time.DAY},
        {"terrain": Terrain.OCEAN},
        {"sky": Sky.STORMY},
        {"style": Style.OIL_PAINTING},
        {"extras": frozenset({Extra.SNOW})},
        {"extras": frozenset({Extra.CABIN})},
        {"extras": frozenset({Extra.TREES})},
    ],
    ids="-".join,
)
def test_each_attribute_is_seen(changes: dict[str, object]) -> None:
    """The same seed with one attribute changed is another picture, on average over seeds."""
    differences = [
        mean_difference(
            render(plain_scene(), width_px=128, height_px=128, seed=seed),
            render(plain_scene(**changes), width_px=128, height_px=128, seed=seed),
        )
        for seed in range(3)
    ]
    assert np.mean(differences) > 2


def test_night_is_darker_than_day() -> None:
    day = render(plain_scene(time=Time.DAY), width_px=96, height_px=96, seed=1)
    night = render(plain_scene(time=Time.NIGHT, sky=Sky.STARRY), width_px=96, height_px=96, seed=1)
    assert night.mean() < 0.6 * day.mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_px": 63, "height_px": 96, "seed": 0}, r"width_px: 63 is outside \[64, 1024\]"),
        ({"width_px": 96, "height_px": 1025, "seed": 0}, r"height_px: 1025 is outside"),
        ({"width_px": 96, "height_px": 96, "seed": -1}, r"seed: -1 is negative"),
    ],
)
def test_render_refuses_bad_arguments(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(plain_scene(), **arguments)


def test_scenes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="sky: starry does not go with sunset; allowed: clear"):
        plain_scene(sky=Sky.STARRY)
    with pytest.raises(ValueError, match="extras: sailboat does not go with mountains"):
        plain_scene(extras=frozenset({Extra.SAILBOAT}))


def test_attribute_indices_name_the_scene() -> None:
    rng = np.random.default_rng(3)
    seen: dict[str, set[int]] = {name: set() for name in ATTRIBUTES}
    for _ in range(600):
        scene = sample_scene(rng)
        indices = attribute_indices(scene)
        for (name, classes), index in zip(ATTRIBUTES.items(), indices, strict=True):
            seen[name].add(index)
            if name in {"time", "terrain", "sky", "style"}:
                assert classes[index] == getattr(scene, name)
            elif name == "trees" and scene.terrain is Terrain.FOREST:
                assert classes[index] == "yes"
            else:
                assert (classes[index] == "yes") == (Extra(name) in scene.extras)
    assert all(len(seen[name]) == len(classes) for name, classes in ATTRIBUTES.items())


def assert_same_pictures(first: Dataset, second: Dataset) -> None:
    assert first.buckets.keys() == second.buckets.keys()
    for size, bucket in first.buckets.items():
        other = second.buckets[size]
        assert np.array_equal(bucket.indices, other.indices)
        assert bucket.captions == other.captions
        for position in range(len(bucket)):
            assert np.array_equal(bucket.picture(position), other.picture(position))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of four pictures, so that a few pictures make several."""
    monkeypatch.setattr(dataset_module, "SHARD_PICTURES", 4)


@pytest.mark.usefixtures("small_shards")
def test_a_dataset_resumes_and_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    render_dataset(whole, count=20, seed=7, workers=2, size_buckets=SMALL_BUCKETS)
    render_dataset(resumed, count=20, seed=7, workers=1, size_buckets=SMALL_BUCKETS)
    shards = sorted((resumed / "shards").glob("*.npy"))
    assert len(shards) > len(SMALL_BUCKETS)
    lost, kept = shards[0], shards[1:]
    lost.unlink()
    (resumed / "shards" / "64x64-00000.part").write_bytes(b"half written")
    before = {path: path.stat().st_mtime_ns for path in kept}
    with pytest.raises(FileNotFoundError, match="render the dataset again to finish it"):
        load_dataset(resumed)
    render_dataset(resumed, count=20, seed=7, workers=1, size_buckets=SMALL_BUCKETS)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert not list(resumed.rglob("*.part"))
    assert_same_pictures(load_dataset(whole), load_dataset(resumed))


def test_a_loaded_dataset_tells_what_its_pictures_are(tmp_path: Path) -> None:
    render_dataset(tmp_path, count=12, seed=2, workers=1, size_buckets=SMALL_BUCKETS)
    loaded = load_dataset(tmp_path)
    assert sum(len(bucket) for bucket in loaded.buckets.values()) == loaded.count == 12
    for (width, height), bucket in loaded.buckets.items():
        assert all(isinstance(shard, np.memmap) for shard in bucket.shards)
        for position, index in enumerate(bucket.indices):
            item = describe(2, int(index), SMALL_BUCKETS)
            assert (item.width_px, item.height_px) == (width, height)
            assert tuple(bucket.attributes[position]) == attribute_indices(item.scene)
            assert bucket.captions[position] == item.captions
            assert np.array_equal(
                bucket.picture(position),
                render(item.scene, width_px=width, height_px=height, seed=item.render_seed),
            )
        with pytest.raises(IndexError, match=r"position: \d+ is outside"):
            bucket.picture(len(bucket))


def test_aspect_buckets_have_their_shares() -> None:
    sizes = [(item.width_px, item.height_px) for item in (describe(0, i) for i in range(1500))]
    for size, share in SIZE_BUCKETS.items():
        assert size[0] % 16 == size[1] % 16 == 0
        assert sizes.count(size) / len(sizes) == pytest.approx(share, abs=0.04)
    assert SHARD_PICTURES * 256 * 256 * 3 < 2**27  # a worker's shard fits its memory


def test_another_recipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    render_dataset(tmp_path, count=1, seed=0, workers=1, size_buckets=SMALL_BUCKETS)
    with pytest.raises(ValueError, match=r"holds a dataset with seed 0, not 1"):
        render_dataset(tmp_path, count=1, seed=1, workers=1, size_buckets=SMALL_BUCKETS)
    with pytest.raises(ValueError, match="workers: 0 is below 1"):
        render_dataset(tmp_path, count=1, seed=0, workers=0, size_buckets=SMALL_BUCKETS)
    with pytest.raises(FileNotFoundError, match="holds no dataset"):
        load_dataset(tmp_path / "elsewhere")


def test_ctrl_c_ends_the_workers_and_leaves_no_half_shards(tmp_path: Path) -> None:
    """The command is interrupted while its worker renders; its next run could go on."""
    command = [sys.executable, "-m", "leyden_training.cli", "--folder", str(tmp_path)]
    source = Path(dataset_module.__file__).parents[2]
    process = subprocess.Popen(
        [*command, "--workers", "1", "render", "--count", "1000"],
        env=os.environ | {"PYTHONPATH": str(source)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while (
            not (tmp_path / "data" / "captions.jsonl").exists()
            or len(children.read_text().split()) < 2
        ):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        workers = children.read_text().split()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("*.part"))
    assert json.loads((tmp_path / "data" / "recipe.json").read_text())["count"] == 1000
    # The resource tracker goes just after its parent.
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        time.sleep(0.02)


def test_sizes_of_any_native_side_can_be_rendered_and_halved() -> None:
    assert size_buckets(256) == SIZE_BUCKETS
    for native_px in (64, 128, 512, 1024):
        shares = size_buckets(native_px)
        assert shares[native_px, native_px] >= 0.7
        assert sum(shares.values()) == pytest.approx(1)
        for side in itertools.chain(*shares):
            assert MIN_SIZE_PX <= side <= MAX_SIZE_PX
            assert side % 16 == 0
