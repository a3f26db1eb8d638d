"""The counts of steps and decodes: against torch's counter, and against bytes worked out here."""

# A kernel's compiled-in arguments are in capitals.
# ruff: noqa: N803

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from support.triton_interpreter import Interpreter, triton_interpreter
from torch.utils.flop_counter import FlopCounterMode

from leyden_server.accelerator.device import channels_last
from leyden_server.accelerator.group_norm import GroupNorm
from leyden_server.accelerator.layer_norm import AddNorm
from leyden_server.accelerator.resnet_block import ResnetBlock
from leyden_server.accelerator.upsample import Upsample
from leyden_server.denoiser.geglu import GEGLU, Gate

triton = pytest.importorskip("triton")

from benchmarks import step_counts  # noqa: E402 - needs Triton
from benchmarks.on_gpu.architecture import TINY, Costs  # noqa: E402
from benchmarks.on_gpu.counting import counting  # noqa: E402
from benchmarks.on_gpu.operator_counts import Card, Cost, Counts  # noqa: E402
from benchmarks.on_gpu.step_table import step_tables  # noqa: E402
from benchmarks.on_gpu.triton_passes import passes_of  # noqa: E402
from triton import language as tl  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
CARD = Card(bytes_per_s=1e9, flop_per_s={torch.bfloat16: 1e12, torch.float32: 1e12})
BF16: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16}


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    with triton_interpreter() as started:
        yield started


def counted(run: Any) -> Counts:
    """Count what `run` does on a GPU that is not there."""
    with counting(CARD) as counts:
        make = run()
        counts.running = True
        make()
        counts.running = False
    return counts


def test_a_product_reads_both_and_writes_one() -> None:
    def run() -> Any:
        layer = torch.nn.Linear(64, 32, **BF16)
        x = torch.empty(2, 16, 64, **BF16)
        return lambda: layer(x)

    counts = counted(run)
    read_bytes, written_bytes = 2 * (32 * 64 + 64 * 32 + 32), 2 * 32 * 32
    # The card copies 1 GB/s, which takes longer here than 10^12 operations a second.
    bound_s = (read_bytes + written_bytes) / 1e9
    expected = Cost(1, 2 * 32 * 64 * 32, read_bytes, written_bytes, bound_s)
    assert dict(counts.by_operator) == {("products", "addmm"): expected}
    assert counts.total == counts.of_kind("products") == expected


def test_what_computes_long_is_bound_by_that() -> None:
    def run() -> Any:
        x = torch.empty(8192, 8192, **BF16)
        return lambda: x @ x

    assert counted(run).total.bound_s == pytest.approx(2 * 8192**3 / 1e12)


def test_attention_keeps_its_scores_and_needs_no_copy_after() -> None:
    def run() -> Any:
        q = torch.empty(2, 4, 128, 16, **BF16)
        k = torch.empty(2, 4, 77, 16, **BF16)
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, k, k).transpose(1, 2).reshape(2, 128, 64)

    (((kind, _), cost),) = counted(run).by_operator.items()
    assert kind == "attention"
    assert cost.flop == 2 * 2 * (2 * 4 * 128 * 77 * 16)
    assert cost.read_bytes == 2 * (2 * 4 * 16) * (128 + 2 * 77)
    assert cost.written_bytes == 2 * (2 * 4 * 16) * 128


def test_a_stock_group_norm_copies_what_lies_channels_last_and_a_convolution_back() -> None:
    def run() -> Any:
        norm = torch.nn.GroupNorm(8, 64, **BF16)
        convolution = torch.nn.Conv2d(64, 64, 1, bias=False, **BF16)
        channels_last(convolution)
        x = torch.empty(2, 64, 8, 8, **BF16).contiguous(memory_format=torch.channels_last)
        return lambda: convolution(norm(x))

    counts = counted(run)
    image = 2 * 2 * 64 * 8 * 8
    copies = {name: cost for (kind, name), cost in counts.by_operator.items() if kind == "copies"}
    assert set(copies) == {"group_norm's input", "convolution's input"}
    assert all(cost.read_bytes == cost.written_bytes == image for cost in copies.values())
    norms = counts.of_kind("norms")
    assert (norms.read_bytes, norms.written_bytes) == (2 * image + 2 * 2 * 64, image)


def test_our_group_norm_is_its_kernels_and_copies_nothing() -> None:
    def run() -> Any:
        norm = GroupNorm(torch.nn.GroupNorm(8, 64, **BF16))
        x = torch.empty(2, 64, 8, 8, **BF16).contiguous(memory_format=torch.channels_last)
        return lambda: norm(x)

    counts = counted(run)
    image = 2 * 2 * 64 * 8 * 8
    sums, affine = 4 * 2 * 2 * 64, 4 * 2 * 2 * 64  # of one part; a scale and a shift
    weights = 2 * 2 * 64
    assert {
        name.partition(".")[2]: (cost.read_bytes, cost.written_bytes)
        for (_, name), cost in counts.by_operator.items()
    } == {
        "sum_parts": (image, sums),
        "scale_and_shift": (sums + weights, affine),
        "apply": (image + affine, image),
    }


def test_views_dropout_and_memory_that_is_set_aside_cost_nothing() -> None:
    def run() -> Any:
        x = torch.empty(2, 8, 64, **BF16)
        return lambda: torch.nn.functional.dropout(torch.empty_like(x), 0.5, training=False)[
            :, 1:
        ].transpose(1, 2)

    assert not counted(run).by_operator


def test_what_is_not_asked_for_is_not_counted() -> None:
    with counting(CARD) as counts:
        inner = torch.nn.Linear(8, 8, **BF16)
        outer = torch.nn.Sequential(torch.nn.Linear(8, 8, **BF16), inner)
        with counts.around(inner):
            outer(torch.empty(4, 8, **BF16))
    assert counts.total.calls == 1


@triton.jit
def _scaled(value, factors):  # type: ignore[no-untyped-def]
    return value * tl.load(factors)


@triton.jit  # type: ignore[untyped-decorator]
def _some_kernel(  # type: ignore[no-untyped-def]
    x, delta, factors, out, total, width, HAS_DELTA: tl.constexpr, BLOCK: tl.constexpr
):
    column = tl.arange(0, BLOCK)
    place = x + tl.program_id(0) * width
    value = tl.load(place + column)
    if HAS_DELTA:
        value += tl.load(delta + column)
        tl.store(x + column, value)
    value = _scaled(value, factors)
    tl.store(out + column, value)
    tl.atomic_add(total, 1.0)


@pytest.mark.parametrize("has_delta", [True, False])
def test_a_kernels_source_says_what_it_loads_and_stores(has_delta: bool) -> None:
    names = ("x", "delta", "factors", "out", "total")
    tensors = {name: torch.empty(1) for name in names}
    passes = passes_of(_some_kernel, {**tensors, "width": 4, "HAS_DELTA": has_delta, "BLOCK": 4})
    assert passes.loaded == {"x", "factors", "total"} | ({"delta"} if has_delta else set())
    assert passes.stored == {"out", "total"} | ({"x"} if has_delta else set())


@triton.jit  # type: ignore[untyped-decorator]
def _product(x, out, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    column = tl.arange(0, BLOCK)
    block = tl.load(x + column[:, None] * BLOCK + column[None, :])
    tl.store(out + column[:, None] * BLOCK + column[None, :], tl.dot(block, block))


def test_a_kernel_that_multiplies_is_not_counted_as_what_it_moves() -> None:
    with pytest.raises(NotImplementedError, match="_product multiplies"):
        passes_of(_product, {"x": torch.empty(1), "out": torch.empty(1), "BLOCK": 16})


def case(name: str, device: str) -> Callable[[], Any]:
    """Return a run of some of the server's kernels on small tensors in bfloat16."""
    like: dict[str, Any] = {"device": device, "dtype": torch.bfloat16}
    image = torch.ones(2, 32, 8, 8, **like).contiguous(memory_format=torch.channels_last)
    tokens = torch.ones(2, 16, 64, **like)
    match name:
        case "group_norm":
            norm = GroupNorm(torch.nn.GroupNorm(8, 32).to(**like))
            return lambda: norm(image)
        case "add_norm":
            add_norm = AddNorm(torch.nn.LayerNorm(64).to(**like))
            offset = torch.ones(64, **like)
            return lambda: (add_norm(tokens), add_norm(tokens, tokens + 1, offset))
        case "gate":
            return lambda: Gate()(tokens)
        case "resnet":
            resnet = ResnetBlock2D(in_channels=32, out_channels=64, temb_channels=48, groups=8).to(
                **like
            )
            channels_last(resnet)
            block, temb = ResnetBlock(resnet), torch.ones(2, 48, **like)
            return lambda: block(image, temb)
        case _:
            upsample = Upsample(Upsample2D(32, use_conv=True, out_channels=32).to(**like))
            return lambda: upsample(image)


Touched = dict[str, tuple[int, int]]
"""Bytes that were loaded and stored, by the kernel's name."""


def touched_by_interpreter(name: str) -> Touched:
    """Run a case in Triton's interpreter; an address counts once a launch."""
    from triton.runtime import interpreter

    launches: list[tuple[str, dict[str, set[int]], dict[str, int]]] = []
    launch = interpreter.GridExecutor.__call__
    load = interpreter.InterpreterBuilder.create_masked_load
    store = interpreter.InterpreterBuilder.create_masked_store

    def noting_launch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        kernel = f"{executor.fn.__module__.rpartition('.')[2]}.{executor.fn.__name__.strip('_')}"
        launches.append((kernel, {"load": set(), "store": set()}, {"load": 0, "store": 0}))
        return launch(executor, *args, **kwargs)

    def note(kind: str, pointers: Any, mask: Any) -> None:
        _, addresses, touched = launches[-1]
        which = np.broadcast_to(mask.data, pointers.data.shape)
        new = set(pointers.data[which].ravel().tolist()) - addresses[kind]
        addresses[kind] |= new
        touched[kind] += len(new) * pointers.get_element_ty().primitive_bitwidth // 8

    def noting_load(builder: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        note("load", pointers, mask)
        return load(builder, pointers, mask, *rest)

    def noting_store(builder: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note("store", pointers, mask)
        return store(builder, pointers, value, mask, *rest)

    interpreter.GridExecutor.__call__ = noting_launch
    interpreter.InterpreterBuilder.create_masked_load = noting_load
    interpreter.InterpreterBuilder.create_masked_store = noting_store
    try:
        with torch.inference_mode():
            run = case(name, "cpu")
            launches.clear()
            run()
            tried = len(launches)
            run()  # without `try_out`'s launches, which are before the first
    finally:
        interpreter.GridExecutor.__call__ = launch
        interpreter.InterpreterBuilder.create_masked_load = load
        interpreter.InterpreterBuilder.create_masked_store = store
    found: Touched = {}
    for kernel, _, touched in launches[tried:]:
        loaded, stored = found.get(kernel, (0, 0))
        found[kernel] = (loaded + touched["load"], stored + touched["store"])
    return found


BORDERS = 2 * 2 * (4 * 32) * (9 * 9 - 8 * 8)
"""Bytes of the 9 x 9 pixels of each phase of an upsampled image of 8 x 8 that are nobody's."""


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("group_norm", 0), ("add_norm", 0), ("gate", 0), ("resnet", 0), ("upsample", BORDERS)],
)
def test_kernels_touch_the_bytes_that_are_counted(
    name: str, left_out: int, interpreter: Interpreter
) -> None:
    counts = counted(lambda: case(name, "cuda"))
    found = {
        kernel: (cost.read_bytes - left_out, cost.written_bytes)
        for (_, kernel), cost in counts.by_operator.items()
        if "_kernel" in kernel
    }
    assert found
    assert found == interpreter(touched_by_interpreter, name)


def test_geglu_is_one_pass() -> None:
    def run() -> Any:
        unit = GEGLU(torch.nn.Linear(64, 64, **BF16))
        x = torch.empty(2, 16, 64, **BF16)
        return lambda: unit(x)

    gate = counted(run).of_kind("pointwise")
    assert (gate.calls, gate.read_bytes, gate.written_bytes) == (1, 2 * 32 * 64, 2 * 32 * 32)


def test_a_tiny_run_counts_what_torch_counts_and_less_is_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "counts.json"
    assert step_counts.main(["--tiny", "--json", str(file)]) == 0
    figures = json.loads(file.read_text(encoding="utf-8"))
    rows = {(row["model"], row["variant"], row["rows"]): row for row in figures["rows"]}
    costs = Costs.count(TINY, (64,))
    for number in (1, 8):
        unet = rows["unet", "diffusers", number]["total"]
        vae = rows["vae", "diffusers", number]["total"]
        assert unet["flop"] == number * costs.unet_flop[64]
        assert vae["flop"] == number * costs.vae_flop[64]
        for model in ("unet", "vae"):
            theirs, ours = (
                rows[model, variant, number]["total"] for variant in ("diffusers", "leyden")
            )
            moved = [one["read_bytes"] + one["written_bytes"] for one in (theirs, ours)]
            assert moved[1] < moved[0]
            assert ours["flop"] <= theirs["flop"]
        names = ("leyden", "leyden fp8", "leyden fp8 all")
        ours, chosen, float8 = (rows["unet", name, number] for name in names)
        flop = [one["total"]["flop"] for one in (ours, chosen, float8)]
        assert len(set(flop)) == 1
        assert float8["kinds"]["products"]["read_bytes"] < ours["kinds"]["products"]["read_bytes"]
    for row in rows.values():
        for key in ("calls", "flop", "read_bytes", "written_bytes"):
            assert sum(kind[key] for kind in row["kinds"].values()) == row["total"][key]
            assert sum(one[key] for one in row["operators"].values()) == row["total"][key]
    printed = capsys.readouterr().out
    assert printed == step_tables({"Leyden": figures["rows"]})
    assert printed.count("UNet step") == printed.count("VAE decode") == 2


def test_the_documentation_has_the_tables_of_the_counts_that_it_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = REPOSITORY / "benchmarks" / "results"
    before, now = (results / f"step-counts-{name}2026-11-29.json" for name in ("before-", ""))
    assert step_counts.main(["--tables", f"before={before}", f"now={now}"]) == 0
    tables = capsys.readouterr().out
    assert tables.count("| before | now |") == 4
    assert tables.count("| now, FP8 | now, all FP8 |") == 2
    assert tables in (REPOSITORY / "docs" / "gpu.md").read_text(encoding="utf-8")


def test_torchs_counter_agrees_on_a_layer_of_each_kind() -> None:
    def run() -> Any:
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(8, 16, 3, padding=1, **BF16), torch.nn.Conv2d(16, 8, 1, **BF16)
        )
        x = torch.empty(2, 8, 9, 7, **BF16)
        return lambda: layers(x)

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.Conv2d(16, 8, 1)
        )
        layers(torch.empty(2, 8, 9, 7))
    assert counted(run).total.flop == counter.get_total_flops()
