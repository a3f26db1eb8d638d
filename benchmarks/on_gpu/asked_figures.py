"""What is asked of one H100 at 1024 px, beside what a report has measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["ASKED", "Asked", "compared"]

Row = dict[str, Any]
Parts = dict[str, Any]
"""The results of a report's parts by name; those that gave none are not there."""

BF16 = ("leyden --in-process", "leyden")
FP8 = ("leyden --in-process, fp8",)


@dataclass(frozen=True, slots=True)
class Asked:
    """One figure: SDXL's full size, 4 steps, PNG over gRPC, in one run with diffusers."""

    name: str
    unit: str
    limit: float
    at_most: bool
    """Whether less is better."""
    measured: Callable[[Parts], float | None]

    def compare(self, parts: Parts) -> Row:
        """Return the line of the report; what was not measured is not met and not missed."""
        value = self.measured(parts)
        met = None
        if value is not None:
            met = value <= self.limit if self.at_most else value >= self.limit
        return {
            "figure": self.name,
            "asked": f"{'≤' if self.at_most else '≥'} {self.limit:g} {self.unit}",
            "measured": value,
            "met": met,
        }


def compared(parts: Parts) -> list[Row]:
    """Return every figure that is asked for, and whether it is met."""
    return [asked.compare(parts) for asked in ASKED]


def _best(values: Iterator[float], at_most: bool) -> float | None:
    found = list(values)
    if not found:
        return None
    return min(found) if at_most else max(found)


def _peers(parts: Parts, names: tuple[str, ...]) -> Iterator[Row]:
    for row in parts.get("peers", {}).get("peers", ()):
        if row["name"] in names:
            yield row


def _one_client_ms(parts: Parts) -> float | None:
    loops = (row["closed"][0] for row in _peers(parts, BF16) if row.get("closed"))
    return _best((1000 * loop["latency_s"]["median"] for loop in loops), at_most=True)


def _clients(names: tuple[str, ...]) -> Callable[[Parts], float | None]:
    def rate(parts: Parts) -> float | None:
        rows = (row for row in _peers(parts, names) if len(row.get("closed", ())) > 1)
        return _best((row["closed"][1]["images_per_s"] for row in rows), at_most=False)

    return rate


def _over_diffusers(key: str, *, at_most: bool) -> Callable[[Parts], float | None]:
    def ratio(parts: Parts) -> float | None:
        over = parts.get("peers", {}).get("leyden_over", {})
        found = (row[key] for name, row in over.items() if name in BF16 and key in row)
        return _best(found, at_most)

    return ratio


def _ready_s(parts: Parts) -> float | None:
    rows = (row for row in _peers(parts, BF16) if "start_to_ready_s" in row)
    return _best((row["start_to_ready_s"] for row in rows), at_most=True)


def _stage_ms(part: str, stage: str, size_px: int, rows: int) -> Callable[[Parts], float | None]:
    def median(parts: Parts) -> float | None:
        wanted = {"stage": stage, "size_px": size_px, "rows": rows}
        for row in parts.get(part, {}).get("rows", ()):
            if "device_ms" in row and wanted.items() <= row.items():
                value: float = row["device_ms"]["median"]
                return value
        return None

    return median


ASKED = (
    Asked("one client, an image", "ms", 105, True, _one_client_ms),
    Asked(
        "one client, an image, of diffusers' in process",
        "x",
        0.25,
        True,
        _over_diffusers("one_client_of_diffusers", at_most=True),
    ),
    Asked("8 clients, bf16", "images/s", 13, False, _clients(BF16)),
    Asked(
        "8 clients, bf16, over diffusers' batches of 8",
        "x",
        2.6,
        False,
        _over_diffusers("clients_over_diffusers", at_most=False),
    ),
    Asked("8 clients, FP8", "images/s", 15, False, _clients(FP8)),
    Asked("UNet step, 8 rows, bf16", "ms", 100, True, _stage_ms("stages", "denoiser", 1024, 8)),
    Asked("UNet step, 8 rows, FP8", "ms", 84, True, _stage_ms("fp8", "denoiser", 1024, 8)),
    Asked("VAE decode", "ms", 19, True, _stage_ms("stages", "vae", 1024, 1)),
    Asked("UNet step at 512 px, 8 rows", "ms", 24, True, _stage_ms("stages", "denoiser", 512, 8)),
    Asked("start to ready", "s", 30, True, _ready_s),
)
