"""The tables that a person reads."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.on_gpu.published import PUBLISHED

__all__ = ["print_report"]

Row = dict[str, Any]


def print_report(console: Console, figures: dict[str, Any]) -> None:
    """Print what was measured, what follows from it, and what others have published."""
    machine, asked = figures["machine"], figures["asked"]
    where = machine.get("gpu") or f"CPU, {machine['cpu_cores']} cores"
    console.print(
        f"\n{figures['architecture']['name']} architecture, random weights, {asked['dtype']}, "
        f"{asked['num_inference_steps']} steps without guidance, on {where}; "
        f"torch {machine['packages']['torch']}. "
        f"Matrix products: {figures['matmul_tflops']:.1f} TFLOP/s measured."
    )
    for stage, title in (
        ("text_encoders", "Text encoders, tokenizers included"),
        ("denoiser", "Denoiser: one step of the engine, its rows at different steps"),
        ("vae", "Image decoder: latents to pixels"),
    ):
        rows = [row for row in figures["rows"] if row["stage"] == stage]
        if rows:
            console.print(_stage_table(title, rows))
    if figures["whole_images"]:
        console.print(_whole_image_table(figures["whole_images"]))
    if figures["profile"]:
        console.print(_profile_table(figures["profile"]))
    console.print(_published_table())
    for source in dict.fromkeys(one.source for one in PUBLISHED):
        console.print(f"  {_number_of(source)}  {source}")
    console.print()
    for failure in figures["failures"]:
        console.print(f"[bold red]FAILED[/] {failure}")
    if not figures["failures"]:
        console.print(
            f"All outputs agree with eager float32 within a relative {figures['tolerance']}."
        )


def _stage_table(title: str, rows: list[Row]) -> Table:
    measured: Row = next((row for row in rows if "not_measured" not in row), {})
    denoiser, warmed_up = "images_per_s" in measured, "warm_up_s" in measured
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    names = ["what", "rows", "device ms", "p10 … p90", "wall ms", "ms a row"]
    names += [*(["images/s"] if denoiser else []), *(["warm-up s"] if warmed_up else [])]
    names += ["TFLOP/s", "of peak", "GiB", "error"]
    for name in names:
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        what = f"{row.get('execution', '')} {_size(row)}".strip()
        if "not_measured" in row:
            table.add_row(what, str(row.get("rows", "")), row["not_measured"])
            continue
        device, wall = row["device_ms"], row["wall_ms"]
        cells = [
            what,
            str(row["rows"]),
            f"{device['median']:.2f}",
            f"{device['p10']:.2f} … {device['p90']:.2f}",
            f"{wall['median']:.2f}",
            f"{wall['median'] / row['rows']:.2f}",
        ]
        cells += [f"{row['images_per_s']:.2f}"] if denoiser else []
        cells += [f"{row['warm_up_s']:.1f}"] if warmed_up else []
        peak = row["peak_memory"]
        cells += [
            f"{row['tflops']:.3g}",
            f"{row['share_of_matmul_peak']:.0%}",
            f"{peak['reserved_gib']:.1f}" if peak else "-",
            f"{row['error']['relative']:.4f}",
        ]
        table.add_row(*cells)
    return table


def _whole_image_table(whole_images: list[Row]) -> Table:
    table = Table(
        title="A whole image where the stages take turns on one GPU (derived: wall times added)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for name in ("what", "rows", "text ms", "denoise ms", "decode ms", "ms an image", "images/s"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in whole_images:
        table.add_row(
            f"{row['execution']} {_size(row)}",
            str(row["rows"]),
            *(f"{row[key]:.2f}" for key in ("text_ms", "denoise_ms", "decode_ms", "image_ms")),
            f"{row['images_per_s']:.2f}",
        )
    return table


def _profile_table(profile: list[Row]) -> Table:
    table = Table(
        title="Costliest operators of a UNet run", title_justify="left", box=box.SIMPLE_HEAD
    )
    for name in ("execution", "ms a run", "calls a run", "operator"):
        table.add_column(name, justify="right" if "run" in name else "left")
    for row in profile:
        table.add_row(
            row["execution"],
            f"{row['ms_a_run']:.3f}",
            f"{row['calls_a_run']:.0f}",
            row["operator"][:90],
        )
    return table


def _published_table() -> Table:
    table = Table(title="Published by others", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("what", "GPU", "figure", "conditions", "source"):
        table.add_column(name)
    for one in PUBLISHED:
        table.add_row(one.what, one.gpu, one.figure, one.conditions, str(_number_of(one.source)))
    return table


def _number_of(source: str) -> int:
    return list(dict.fromkeys(one.source for one in PUBLISHED)).index(source) + 1


def _size(row: Row) -> str:
    return f"{row['size_px']} px" if "size_px" in row else ""
