"""What the dashboard shows: what is asked first, then a panel for each metric of the table.

A metric's own panel follows from its row of the table: its kind decides the query, its labels the
lines, the end of its name the unit, and its texts are the description.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from leyden_server.metrics import of_leyden as ours
from leyden_server.metrics import of_triton as triton
from leyden_server.metrics.metric import Metric
from leyden_server.metrics.table import METRICS

__all__ = ["OVERVIEW", "Panel", "Query", "Row", "rows"]

WINDOW = "[$__rate_interval]"
"""At least four scrapes, as Grafana reckons it from the data source's own interval."""

SERVER = 'namespace=~"$namespace", job=~"$job"'
OF_MODEL = f'{SERVER}, model=~"$model"'

UNITS = {
    "_bytes": "bytes",
    "_bytes_total": "Bps",
    "_seconds": "s",
    "_seconds_total": "s",
    "_us": "µs",
}
"""By the ends of names, in Grafana's words; a counter's is that of its rate."""


OF_THE_AXIS = ("_timestamp_seconds", "_duration_seconds", "_seconds", "_bytes", "_us")


@dataclass(frozen=True)
class Query:
    """A query and how its lines are named."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    queries: tuple[Query, ...]
    unit: str
    description: str


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


OVERVIEW = Row(
    "Overview",
    (
        Panel(
            "Requests that were owed an answer and failed",
            (
                Query(
                    f"model:leyden_requests_failed:ratio_rate5m{{{OF_MODEL}}}", "{{model}}, 5 min"
                ),
                Query(f"model:leyden_requests_failed:ratio_rate1h{{{OF_MODEL}}}", "{{model}}, 1 h"),
            ),
            "percentunit",
            "Of the objective 0.5 % may, over 30 days. What clients end, get wrong or have no "
            "quota for does not count. Alerts: LeydenErrorBudgetBurnsFast and its sisters.",
        ),
        Panel(
            "Refused, by reason",
            (Query(f"model:leyden_requests_refused:rate5m{{{OF_MODEL}}}", "{{model}} {{reason}}"),),
            "reqps",
            "QUEUE_FULL and DEADLINE_CANNOT_BE_MET: too much is asked. Alert: LeydenRefuses.",
        ),
        Panel(
            "Wait for the first step",
            (
                Query(
                    f"model:leyden_queue_duration_seconds:p95_5m{{{OF_MODEL}}}", "{{model}}, p95"
                ),
                Query(
                    f"max by (model) (leyden_expected_wait_seconds{{{OF_MODEL}}})",
                    "{{model}}, told to who comes now",
                ),
            ),
            "s",
            "Of what ended well, and what a request of one image would be told. Alert: "
            "LeydenFirstStepLate.",
        ),
        Panel(
            "Generation, from acceptance to the end",
            (
                Query(
                    f"model:leyden_generation_duration_seconds:p95_5m{{{OF_MODEL}}}",
                    "{{model}}, p95",
                ),
            ),
            "s",
            "What clients see of what ended well.",
        ),
        Panel(
            "Images a second",
            (
                Query(
                    f"sum by (model) (rate(nv_inference_count{{{OF_MODEL}}}{WINDOW}))", "{{model}}"
                ),
            ),
            "ops",
            "Of the requests that ended well.",
        ),
        Panel(
            "Replicas that run, and that are to run",
            (
                Query(f"application:leyden_stage_replicas:max{{{SERVER}}}", "{{application}} run"),
                Query(
                    f"application:leyden_stage_replicas_wanted:max{{{SERVER}}}",
                    "{{application}} wanted",
                ),
            ),
            "none",
            "Alerts: LeydenStageGone, LeydenReplicasMissing.",
        ),
        Panel(
            "Where the time of a request goes",
            tuple(
                Query(
                    f"sum by (model) (rate({metric.name}{{{OF_MODEL}}}{WINDOW})) / "
                    f"sum by (model) (rate({triton.REQUEST_US.name}{{{OF_MODEL}}}{WINDOW}))",
                    f"{{{{model}}}} {part}",
                )
                for part, metric in (
                    ("queue", triton.QUEUE_US),
                    ("text encoding", triton.INPUT_US),
                    ("denoising", triton.INFER_US),
                    ("decoding", triton.OUTPUT_US),
                )
            ),
            "percentunit",
            "Shares of the time from acceptance to the end; what is left is the Gateway's own.",
        ),
        Panel(
            "How full the batches are",
            (
                Query(
                    f"sum by (model) (rate(leyden_unet_rows_total{{{OF_MODEL}}}{WINDOW})) / "
                    f"sum by (model) (rate(nv_inference_exec_count{{{OF_MODEL}}}{WINDOW}))",
                    "{{model}}",
                ),
            ),
            "none",
            "Rows of a run of the UNet, padding not counted: the mean.",
        ),
    ),
)

TABLE: tuple[tuple[str, tuple[Metric, ...]], ...] = (
    (
        "Line",
        (
            ours.IMAGES_WAITING,
            ours.IMAGES_RUNNING,
            ours.IMAGES_OPEN,
            ours.LINE_REQUESTS,
            ours.EXPECTED_WAIT,
            triton.PENDING,
        ),
    ),
    (
        "Requests",
        (
            triton.SUCCESS,
            triton.FAILURE,
            ours.REFUSED,
            ours.FAILED,
            ours.LEFT,
            ours.FAILED_SECONDS,
            ours.LAST_SUCCESS,
            ours.IMAGES,
            triton.COUNT,
            ours.QUEUE,
            ours.GENERATION,
        ),
    ),
    (
        "Stages",
        (
            ours.REPLICAS,
            ours.REPLICAS_WANTED,
            ours.RETRIES,
            ours.TEXT_ENCODE,
            ours.STEP,
            ours.VAE_DECODE,
            ours.IMAGE_ENCODE,
            ours.PROMPTS,
            ours.GPU_MEMORY,
        ),
    ),
    (
        "Batches of the UNet",
        (
            triton.EXEC_COUNT,
            ours.UNET_RUNS,
            ours.UNET_SECONDS,
            ours.UNET_ROWS,
            ours.PADDED_ROWS,
            ours.ROWS_SAVED,
        ),
    ),
    (
        "Times, as Triton counts them",
        (
            triton.REQUEST_US,
            triton.QUEUE_US,
            triton.INPUT_US,
            triton.INFER_US,
            triton.OUTPUT_US,
        ),
    ),
    (
        "Gateways",
        (
            ours.GATEWAYS,
            ours.DRAINING,
            ours.UPTIME,
            ours.BUILD_INFO,
            ours.CERTIFICATE_EXPIRY,
            ours.OPEN_STREAMS,
            ours.SENT,
            ours.PREVIEWS_DROPPED,
            ours.KEPT_BYTES,
            ours.UNSENT_BYTES,
        ),
    ),
)


def rows() -> Iterator[Row]:
    """Yield the rows of the table's metrics.

    Raises:
        ValueError: a metric has no row, or two.

    """
    shown = [metric.name for _, metrics in TABLE for metric in metrics]
    for metric in METRICS:
        if shown.count(metric.name) != 1:
            raise ValueError(
                f"{metric.name} stands {shown.count(metric.name)} times in TABLE of "
                "tests/checks/panels.py; each metric is to have one place there"
            )
    for title, metrics in TABLE:
        yield Row(title, tuple(panel_of(metric) for metric in metrics))


def panel_of(metric: Metric) -> Panel:
    """Return a metric's own panel."""
    description = f"{metric.help}. {metric.use}"
    if metric.name.endswith("_timestamp_seconds"):
        since = "time() - " if metric is ours.LAST_SUCCESS else ""
        until = "" if since else " - time()"
        query = Query(f"{since}{_queries(metric)[0].expr}{until}", _legend(metric))
        return Panel(f"{_title(metric)}, from now", (query,), "s", description)
    return Panel(_title(metric), _queries(metric), _unit(metric), description)


def _title(metric: Metric) -> str:
    """Return the name as people say it, without the unit that the axis shows."""
    name = metric.name.removeprefix("leyden_").removeprefix("nv_inference_")
    ends = ("_total",) if metric.kind == "counter" else OF_THE_AXIS
    for end in ends:
        name = name.removesuffix(end)
    for word in ("GPU", "UNet", "VAE"):
        name = name.replace(word.lower(), word)
    return (name[0].upper() + name[1:]).replace("_", " ")


def _queries(metric: Metric) -> tuple[Query, ...]:
    selector = f"{{{OF_MODEL if 'model' in metric.labels else SERVER}}}"
    labels = ", ".join(_lines(metric))
    by = f" by ({labels})" if labels else ""
    legend = _legend(metric)
    if metric.kind == "histogram":
        return tuple(
            Query(
                f"histogram_quantile({quantile}, sum by (le, {labels}) "
                f"(rate({metric.name}_bucket{selector}{WINDOW})))",
                f"{legend}, p{round(100 * quantile)}",
            )
            for quantile in (0.5, 0.95)
        )
    if metric.kind == "gauge":
        return (Query(f"{metric.merged_by}{by} ({metric.name}{selector})", legend),)
    return (Query(f"sum{by} (rate({metric.name}{selector}{WINDOW}))", legend),)


def _legend(metric: Metric) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in _lines(metric)) or "all"


def _lines(metric: Metric) -> list[str]:
    """Return the labels that a line each is drawn for: of its one version a model needs none."""
    return [label for label in metric.labels if label != "version" or metric is ours.BUILD_INFO]


def _unit(metric: Metric) -> str:
    if metric.kind in {"counter", "bare"} and not metric.name.endswith(tuple(UNITS)):
        return "cps"
    return next((unit for end, unit in UNITS.items() if metric.name.endswith(end)), "none")
