"""The Grafana dashboard, made from the table of metrics by Grafana's own builders."""

import json

from checks.panels import OVERVIEW, Panel, Row, rows
from grafana_foundation_sdk.builders import common, dashboard, prometheus, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.text import TextMode

__all__ = ["dashboard_json"]

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")

FROM_A_GRAPH_TO_A_REQUEST = """\
No metric has a request as a label: the request log has them. Take the time and the model from a \
graph, look for its lines there (`code`, `reason`, `queue_s`, `duration_s`), and take `trace_id` \
from the line: in the tracing system it has one span for each piece of work that was done. The \
other way, a trace's id is in exactly one line of the log, and with it `request_id`, by which \
clients ask. docs/tracing.md says how, docs/runbook.md what to do at each alert.
"""


def dashboard_json() -> str:
    """Return the dashboard as JSON."""
    built = (
        dashboard.Dashboard("Leyden")
        .uid("leyden")
        .description("Written by tests/checks/monitoring.py from the table of metrics.")
        .tags(["leyden"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus")
        )
        .with_variable(_label("namespace", "leyden_build_info"))
        .with_variable(_label("job", 'leyden_build_info{namespace=~"$namespace"}'))
        .with_variable(_label("model", 'leyden_images_open{namespace=~"$namespace", job=~"$job"}'))
        .annotation(_alerts())
        .with_row(dashboard.Row(OVERVIEW.title))
    )
    for panel in OVERVIEW.panels:
        built = built.with_panel(_graph(panel))
    built = built.with_panel(
        text.Panel()
        .title("From a graph to a request")
        .mode(TextMode.MARKDOWN)
        .content(FROM_A_GRAPH_TO_A_REQUEST)
        .height(5)
        .span(24)
    )
    for row in rows():
        built = built.with_row(_row(row))
    return json.dumps(built.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _label(name: str, of: str) -> dashboard.QueryVariable:
    """Return a choice among the values of a label; at first all, an absent label among them."""
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({of}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _alerts() -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name("Alerts that fire")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("red")
        .expr('ALERTS{alertname=~"Leyden.*", alertstate="firing"}')
    )


def _row(row: Row) -> dashboard.Row:
    built = dashboard.Row(row.title).collapsed(True)
    for panel in row.panels:
        built = built.with_panel(_graph(panel))
    return built


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .height(8)
        .span(8)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    for letter, query in zip("ABCDEF", panel.queries, strict=False):
        graph = graph.with_target(
            prometheus.Dataquery()
            .ref_id(letter)
            .expr(query.expr)
            .legend_format(query.legend)
            .range()
        )
    return graph
