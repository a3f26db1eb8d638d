"""The tables of a result, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from leyden_training.data.scene import ATTRIBUTES
from leyden_training.evaluation.adherence import OVERALL

__all__ = [
    "ARTICLE",
    "ablation_table",
    "adherence_table",
    "asked_table",
    "classifier_table",
    "speed_table",
    "systems_table",
]

Row = Mapping[str, Any]

STUDENT_4, STUDENT_8 = "student, 4 steps", "student, 8 steps"
TEACHER = "teacher, 50 steps"
UNDISTILLED = {"teacher, 4 steps": "guided", "teacher, 4 steps, unguided": "unguided"}
"""The teacher at a student's number of steps, and what to call it."""

ARTICLE = (
    ("teacher, 50 steps", "Stable Diffusion XL, 50 steps", "1"),
    ("student, 1 step", "SDXL-Turbo, 1 step", "12.5"),
    ("student, 4 steps", "SDXL-Lightning, 4 steps", "5"),
)
"""Our systems beside those of a published speed table (one A100, about 10 s, 0.8 s and 2 s)."""


def systems_table(rows: Sequence[Row], *, names: Iterable[str] | None = None) -> str:
    """Tabulate what was found of each system or control, of `names` alone where given."""
    wanted = [row for row in rows if names is None or row["name"] in set(names)]
    header = (
        "set of pictures",
        "UNet rows",
        "Fréchet distance",
        "ratio to the teacher's",
        "adherence",
        "ratio to the teacher's",
        "told from the teacher",
        "told side by side",
    )
    return _table(
        header,
        [
            (
                row["name"],
                str(row.get("unet_calls", "-")),
                interval(row["frechet"]),
                interval(row["frechet_ratio"]),
                interval(row["adherence"][OVERALL], 3),
                interval(row["adherence_ratio"], 3),
                interval(row["two_sample"]) if "two_sample" in row else "-",
                interval(row["side_by_side"]) if "side_by_side" in row else "-",
            )
            for row in wanted
        ],
    )


def ablation_table(rows: Sequence[Row]) -> str:
    """Tabulate what each loss is worth: students without it beside the one of all losses."""
    header = (
        "student",
        "Fréchet distance",
        "ratio to all losses'",
        "adherence",
        "ratio to all losses'",
        "told from the teacher",
        "told side by side",
    )
    return _table(
        header,
        [
            (
                row["name"],
                interval(row["frechet"]),
                interval(row["over_full"]["frechet"]),
                interval(row["adherence"][OVERALL], 3),
                interval(row["over_full"]["adherence"], 3),
                interval(row["two_sample"]),
                interval(row["side_by_side"]),
            )
            for row in rows
        ],
    )


def adherence_table(rows: Sequence[Row]) -> str:
    """Tabulate the recovered share by attribute."""
    names = [name for name in ATTRIBUTES if any(name in row["adherence"] for row in rows)]
    return _table(
        ("set of pictures", *names),
        [
            (
                row["name"],
                *(interval(row["adherence"][n]) if n in row["adherence"] else "-" for n in names),
            )
            for row in rows
        ],
    )


def classifier_table(accuracy: Mapping[str, Row]) -> str:
    """Tabulate the classifier's own accuracy on held-out pictures of the data set."""
    return _table(
        ("attribute", "classes", "told right", "held-out pictures"),
        [
            (name, str(len(ATTRIBUTES[name])), interval(row, 3), str(int(row["pictures"])))
            for name, row in accuracy.items()
        ],
    )


def speed_table(speed: Sequence[Row]) -> str:
    """Tabulate wall times, the least and most of all rounds in brackets."""
    published = {name: (model, times) for name, model, times in ARTICLE}
    rows = []
    for row in speed:
        model, times = published.get(row["system"], ("-", "-"))
        rows.append(
            (
                row["system"],
                str(row["unet_calls"]),
                interval(row["seconds"], 3),
                interval(row["times_faster"], 1),
                model,
                times,
            )
        )
    header = ("system", "UNet rows", "s for a picture", "times faster", "published", "times faster")
    return _table(header, rows)


def asked_table(rows: Sequence[Row]) -> str:
    """Tabulate what was asked for before it was measured, and what came out."""
    by_name = {row["name"]: row for row in rows}
    asked = []
    if four := by_name.get(STUDENT_4):
        asked += [
            _asked("4 steps: Fréchet distance, ratio", four["frechet_ratio"], most=1.25),
            _asked("4 steps: adherence, ratio", four["adherence_ratio"], least=0.97),
            _asked("4 steps: told from the teacher", four["two_sample"], most=0.65),
            _asked("4 steps: told side by side", four["side_by_side"], most=0.65),
            *_eight(by_name.get(STUDENT_8), four),
        ]
    if control := by_name.get(TEACHER):
        asked.append(_control(control["two_sample"]))
    for name, which in UNDISTILLED.items():
        if undistilled := by_name.get(name):
            told, paired = undistilled["two_sample"], undistilled["side_by_side"]
            asked += [
                _asked(f"control: undistilled, 4 steps, {which}, told", told, least=0.95),
                _asked(f"control: the same, {which}, side by side", paired, least=0.95),
            ]
    return _table(("asked", "bound", "found", "met"), asked)


def interval(values: Row, digits: int = 2) -> str:
    """Write an estimate with its interval."""
    if values["estimate"] is None:
        return "unknown"
    estimate = f"{values['estimate']:.{digits}f}"
    if values["low"] is None or values["high"] is None:
        return f"{estimate} (unknown)"
    return f"{estimate} ({values['low']:.{digits}f} to {values['high']:.{digits}f})"


def _asked(
    what: str, found: Row, *, most: float | None = None, least: float | None = None
) -> tuple[str, ...]:
    bound = f"at most {most}" if most is not None else f"at least {least}"

    def holds(value: float | None) -> bool:
        if value is None:
            return False
        return value <= most if most is not None else least is not None and value >= least

    worst = found["high"] if most is not None else found["low"]
    if not holds(found["estimate"]):
        met = "no"
    else:
        met = "yes" if holds(worst) else "yes, but the interval reaches beyond"
    return what, bound, interval(found, 3), met


def _eight(eight: Row | None, four: Row) -> list[tuple[str, ...]]:
    """Compare 8 steps with 4: as good where neither interval lies wholly beyond the other."""
    if eight is None:
        return []
    rows: list[tuple[str, ...]] = []
    for what, key, sign in (
        ("8 steps as good as 4: Fréchet distance, ratio", "frechet_ratio", 1),
        ("8 steps as good as 4: adherence, ratio", "adherence_ratio", -1),
        ("8 steps as good as 4: told from the teacher", "two_sample", 1),
    ):
        found, bound = eight[key], four[key]
        if found["estimate"] is None or bound["estimate"] is None:
            met = "unknown"
        elif sign * found["estimate"] <= sign * bound["estimate"]:
            met = "yes"
        else:
            worse, better = ("low", "high") if sign > 0 else ("high", "low")
            apart = sign * (found[worse] or 0.0) > sign * (bound[better] or 0.0)
            met = "no" if apart else "worse, within the intervals"
        rows.append((what, interval(bound, 3), interval(found, 3), met))
    return rows


def _control(found: Row) -> tuple[str, ...]:
    low, high = found["low"], found["high"]
    met = low is not None and high is not None and low <= 0.5 <= high
    bound = "0.5 in the interval"
    return "control: teacher told from itself", bound, interval(found, 3), "yes" if met else "no"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
