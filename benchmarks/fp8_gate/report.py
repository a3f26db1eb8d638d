"""What the gate found, as docs/fp8.md shows it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["tables"]

HEAD = (
    "| in 8-bit floats | PSNR to float32, dB | lost, dB | Fréchet ratio, up to | told apart "
    "| side by side | passes |"
)
RULE = "|---|---|---|---|---|---|---|"

Found = Mapping[str, Any]


def tables(result: Found) -> str:
    """Return Markdown, a table for each model that was asked."""
    parts = []
    for steps, group in result["groups"].items():
        for subject in group["subjects"]:
            name = subject["name"]
            asked = f"Models of {steps}: `{name}`, {subject['pictures']} pictures"
            parts.append(f"{asked}:\n\n{_table(group, name)}\n")
    return "\n".join(parts)


def _table(group: Found, subject: str) -> str:
    return "\n".join([HEAD, RULE, *_rows(group, subject)])


def _rows(group: Found, subject: str) -> Iterator[str]:
    known = group["bfloat16"].get(subject)
    if known is None:
        yield "| none passed on the model before | | | | | | |"
        return
    yield (
        f"| nothing (beside float32) | {known['psnr_db']['estimate']:.1f} | | "
        f"{_bound(known['frechet_ratio_to_float32'])} | "
        f"{known['told_from_float32']['estimate']:.2f} | "
        f"{known['side_by_side_with_float32']['estimate']:.2f} | |"
    )
    tried = [([product], found) for product, found in group["alone"].items()]
    tried += [(choice["products"], choice["measured"]) for choice in group["together"]]
    for products, found in tried:
        for measured in found:
            if measured["subject"] == subject:
                yield _row(products, measured)


def _row(products: Sequence[str], found: Found) -> str:
    return (
        f"| {', '.join(f'`{product}`' for product in products)} | "
        f"{found['psnr_db']['estimate']:.1f} | {found['psnr_loss_db']['estimate']:+.2f} | "
        f"{_bound(found['frechet_ratio'])} | {found['told_apart']['estimate']:.2f} | "
        f"{found['side_by_side']['estimate']:.2f} | {'no' if found['misses'] else 'yes'} |"
    )


def _bound(ratio: Found) -> str:
    return "unknown" if ratio["high"] is None else f"{ratio['high']:.3f}"
