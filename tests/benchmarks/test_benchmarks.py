"""`make bench`, kept alive by tiny passes; how fast anything is, no test asks."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import __main__ as benchmarks_main
from benchmarks.in_process import Pipeline
from benchmarks.load import steady_images_per_s
from benchmarks.paired import difference_of, in_turns, ratio_of
from benchmarks.random_model import RandomShape, write_random_model
from benchmarks.section import Figure, Section, Settings
from benchmarks.server_process import ServerProcess
from numpy.typing import NDArray
from PIL import Image
from support.patience import PATIENCE_S

from leyden_client import AsyncClient, Generation
from leyden_client.bench import Sample
from leyden_server.model_repository import ModelRepository, ResolvedModel

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = RandomShape(
    sample_size=8, block_out_channels=(32, 64), layers_per_block=1, text_widths=(32, 64)
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    folder = write_random_model(tmp_path_factory.mktemp("models") / "tiny", TINY)
    return ModelRepository([folder]).resolve("tiny")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def pixels(png: bytes) -> NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(png))).astype(np.int16)


def test_mixed_arrivals(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ended = run("--quick", "--only", "mixed", "--json", str(file))
    assert ended.returncode == 0, ended.stderr
    assert "these figures mean nothing" in ended.stdout
    assert "step batching" in ended.stdout
    written = json.loads(file.read_text())
    assert written["quick"] is True
    assert {"cpu", "cores", "versions", "commit", "torch_threads", "time"} <= set(
        written["conditions"]
    )
    mixed = written["sections"]["mixed"]
    assert [figure["met"] for figure in mixed["figures"]] != [None, None]
    for contest in mixed["data"].values():
        assert sorted(contest["unet_s_by_rows"], key=int) == ["1", "2", "4", "8"]
        assert contest["gain_of_8_rows"] > 0.2
        assert 1 <= contest["row_cap"] <= 8
        assert len(contest["policies"]) == 3
        for policy in contest["policies"].values():
            latency = policy["latency_s"]
            assert latency["count"] == 4
            assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
            assert policy["mean_batch_rows"] >= 1
        assert contest["policies"]["one at a time"]["mean_batch_rows"] == 1


def test_images_of_two_sizes_and_of_few_and_many_steps(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ended = run("--quick", "--only", "mixed_sizes,mixed_steps", "--json", str(file))
    assert ended.returncode == 0, ended.stderr
    sections = json.loads(file.read_text())["sections"]
    sizes, steps = (sections[name] for name in ("mixed_sizes", "mixed_steps"))
    for share in sizes["data"]["shares_of_the_time"]:
        assert 0.5 < share["unet"] < share["step"] <= 1
    assert set(sizes["data"]["p95_s"]) == {"both", "256", "512"}
    assert all(p95 > 0 for p95 in sizes["data"]["p95_s"].values())
    for latency in steps["data"]["latency_s"].values():
        assert latency["all"]["count"] == 4
        assert 0 < latency["all"]["p50"] <= latency["all"]["p95"]
    assert {figure["met"] for figure in (*sizes["figures"], *steps["figures"])} <= {True, False}


def test_one_gateway_against_that_of_a_checkout_and_against_two(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    sections = "house_events,house_gateways,house_start"
    ended = run("--quick", "--only", sections, "--json", str(file))
    assert ended.returncode == 0, ended.stderr
    written = json.loads(file.read_text())["sections"]
    events = written["house_events"]["data"]
    assert len(events["events_per_s"]["now"]) == 2
    assert min(events["events_per_s"]["now"]) > 0
    assert events["cpu_us_per_step"]["now"] > 0
    request_ms = written["house_gateways"]["data"]["request_ms"]
    assert {name: len(ms) for name, ms in request_ms.items()} == dict.fromkeys(
        ("1, named", "1, unnamed", "2, named", "2, unnamed"), 2
    )
    assert "ms (" in written["house_gateways"]["figures"][0]["measured"]
    assert "--before is missing" in written["house_start"]["figures"][0]["measured"]

    # A checkout is measured by its own packages; here they are this one's.
    ended = run(
        *("--quick", "--only", "house_events", "--before", str(REPOSITORY)),
        *("--json", str(file), "--pairs", "3"),
    )
    assert ended.returncode == 0, ended.stderr
    (figure,) = json.loads(file.read_text())["sections"]["house_events"]["figures"]
    assert "3 pairs" in figure["measured"]
    assert isinstance(figure["met"], bool)


def test_what_operating_it_costs(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    ended = run("--quick", "--only", "operating", "--json", str(file))
    assert ended.returncode == 0, ended.stderr
    written = json.loads(file.read_text())["sections"]
    call_ms = written["operating_protocols"]["data"]["call_ms"]
    assert {name: len(ms) for name, ms in call_ms.items()} == dict.fromkeys(
        ("GenerateImage", "ModelInfer", "ModelStreamInfer"), 4
    )
    telemetry = written["operating_telemetry"]["data"]
    assert {name: len(of) for name, of in telemetry["images_per_s"].items()} == {"on": 2, "off": 2}
    assert set(telemetry["cpu_us_per_request"]) == {"traced", "counted", "neither"}
    refused_ms = written["operating_refusals"]["data"]["refused_ms"]
    assert {name: len(ms) for name, ms in refused_ms.items()} == dict.fromkeys(
        (
            "INVALID_FIELD",
            "MODEL_NOT_FOUND",
            "PRIORITY_NOT_ALLOWED",
            "RATE_LIMITED",
            "UNAUTHENTICATED",
        ),
        4,
    )
    for of in ("call_s", "refused_s"):
        assert len(written["operating_keys"]["data"][of]["10000"]) == 4
    figures = [figure for section in written.values() for figure in section["figures"]]
    assert all(isinstance(figure["met"], bool) for figure in figures if figure["asked"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--before", "nowhere"), "nowhere is no checkout"),
        (("--pairs", "0"), "--pairs: 1 or more; got 0"),
    ],
)
def test_what_is_wrong_with_the_command_is_said(arguments: tuple[str, ...], said: str) -> None:
    ended = run("--only", "house", *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_the_contestants_take_turns_and_each_begins_as_often() -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[], int]:
        return lambda: order.append(name) or len(order)  # type: ignore[func-returns-value]

    measured = in_turns({"a": noting("a"), "b": noting("b")}, 4)
    assert "".join(order) == "abbaabba"
    assert measured == {"a": [1, 4, 5, 8], "b": [2, 3, 6, 7]}


def test_the_middle_of_pairs_and_its_interval() -> None:
    drifting = [1.0, 2.0, 4.0, 8.0, 16.0]
    ratio = ratio_of([1.1 * one for one in drifting], drifting)
    assert ratio.median == pytest.approx(1.1)
    assert [ratio.low, ratio.high] == pytest.approx([1.1, 1.1])
    assert ratio.shown() == "1.100 x (1.100 to 1.100, 5 pairs)"
    rng = np.random.default_rng(0)
    normal = difference_of(rng.normal(3, 1, 400).tolist(), [0.0] * 400)
    # Of the median of 400 normal ones: 1.253 / 20 on either side, twice.
    assert normal.high - normal.low == pytest.approx(4 * 1.253 / 20, rel=0.4)
    assert normal.low < 3 < normal.high


def test_a_section_that_does_not_exist() -> None:
    ended = run("--only", "mixed,speed")
    assert ended.returncode == 2
    assert "there is no section speed; there are start, overhead" in ended.stderr


def test_a_section_that_fails_is_a_line_and_the_others_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Settings) -> Section:
        raise RuntimeError("the server did not start: no memory")

    def succeed(settings: Settings) -> Section:
        figure = Figure(name="Start to ready", asked="<= 30 s", measured="29.0 s", met=True)
        return Section(conditions={"model": "none"}, figures=[figure])

    sections = {"start": fail, "mixed": succeed}
    monkeypatch.setattr(benchmarks_main, "_measurement", sections.__getitem__)
    file = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "start,mixed", "--json", str(file)])
    assert benchmarks_main.main() == 1
    out = capsys.readouterr().out
    assert "29.0 s" in out
    assert "no memory" in out
    written = json.loads(file.read_text())["sections"]
    assert written["mixed"]["figures"][0]["met"] is True
    assert "no memory" in written["start"]["data"]["error"]


def test_weights_repeat_with_their_seed(tmp_path: Path, tiny: ResolvedModel) -> None:
    again = write_random_model(tmp_path / "again", TINY)
    other = write_random_model(tmp_path / "other", TINY, seed=1)
    for part in ("unet", "vae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        weights = (tiny.base_folder / name).read_bytes()
        assert weights == (again / name).read_bytes()
        assert weights != (other / name).read_bytes()


async def test_the_server_and_the_pipeline_do_the_same_work(tiny: ResolvedModel) -> None:
    requests = [("a lake", 1, 2), ("a hill", 2, 4), ("a lake", 3, 3)]
    process = ServerProcess.leyden(tiny.name, repository=tiny.base_folder, in_process=True)
    with process as server:
        async with AsyncClient(server.address) as client:
            generations = await asyncio.gather(
                *(
                    client.generate_image(prompt, seed=seed, num_inference_steps=steps)
                    for prompt, seed, steps in requests
                )
            )
        assert server.start_to_ready_s > 0
        assert server.cpu_s() > 0
        assert server.pss_bytes() > 2**20
    pipeline = await asyncio.to_thread(Pipeline, tiny)
    for (prompt, seed, steps), generation in zip(requests, generations, strict=True):
        (expected,) = pipeline.images([prompt], [seed], steps=steps)
        (image,) = generation.images
        assert np.abs(pixels(image.data) - pixels(expected)).max() <= 1
        assert_billed(generation, steps)
    different = pixels(generations[0].images[0].data) - pixels(generations[2].images[0].data)
    assert np.abs(different).max() > 5


def assert_billed(generation: Generation, steps: int) -> None:
    bill = generation.summary.bill
    (image,) = bill.images
    assert len(image.steps) == steps
    # Not the queue: its end is told by another thread, while the first step begins.
    parts = [bill.text_encode_s, image.vae_decode_s, image.image_encode_s]
    parts += [step.duration_s for step in image.steps]
    assert min(parts) > 0
    assert sum(parts) <= bill.total_s
    assert 0 <= bill.queue_s <= bill.total_s


def test_stage_seconds_add_up(tiny: ResolvedModel) -> None:
    pipeline = Pipeline(tiny)
    for _ in range(2):  # what it puts in the methods' place, it takes away again
        seconds = pipeline.stage_seconds("a lake", 0, steps=3)
        assert set(seconds) == {"text_encode", "unet", "vae_decode", "rest", "total"}
        assert min(seconds.values()) > 0
        assert sum(seconds.values()) == pytest.approx(2 * seconds["total"])


def sample(ended_s: float) -> Sample:
    fields: dict[str, Any] = {"first_event_s": None, "first_progress_s": None, "bill": None}
    return Sample(
        planned_s=0.0,
        ended_s=ended_s,
        images=1,
        num_inference_steps=4,
        code="OK",
        reason="",
        **fields,
    )


def test_a_steady_rate_has_neither_start_nor_end() -> None:
    # Two clients, two images a second; the first and the last request are slow.
    ended_s = [5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 12.0]
    assert steady_images_per_s(map(sample, ended_s), 2) == pytest.approx(2.0)
    assert steady_images_per_s(map(sample, [1.0, 2.0, 3.0]), 2) == pytest.approx(1.0)
