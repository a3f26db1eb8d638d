"""The chart's values: the schema that Helm checks them by, and the table of the page."""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from support.charts.presets import CHART, ROOT

from leyden_server.config import ServerConfig

__all__ = ["SET_BY_CHART", "schema_text", "table"]

Schema = dict[str, Any]

SOURCE = ROOT / "k8s" / "values_schema.yaml"

STAGE = ("resources",)
SET_BY_CHART = {
    "models": (),
    "in_process": (),
    "log_format": (),
    "gateway": (
        "host",
        "port",
        "metrics_host",
        "metrics_port",
        "web_host",
        "web_port",
        "openai",
        "replicas",
        "max_replicas_per_node",
        "resources",
        "drain_timeout_s",
        "tls_certificate",
        "tls_private_key",
        "tls_client_ca",
        "insecure",
        "api_keys",
    ),
    "text_encoder": STAGE,
    "denoiser": STAGE,
    "vae": STAGE,
    "ray": ("address", "num_cpus", "num_gpus", "object_store_memory_bytes"),
}
"""Of Leyden's settings those that other values say, or that a cluster has no use for: whole keys,
or keys of a section."""


def schema_text() -> str:
    """Returns values.schema.json."""
    schema = _source()
    schema["properties"]["config"] |= _config()
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def table() -> str:
    """Returns the values in Markdown: a row for each, with its default."""
    defaults = yaml.load((CHART / "values.yaml").read_text("utf-8"), yaml.CSafeLoader)
    rows = ["| value | default | meaning |", "|---|---|---|"]
    rows += [f"| {row} |" for row in _rows(_source()["properties"], "", defaults)]
    return "\n".join(rows) + "\n\n"


def _source() -> Schema:
    source: Schema = yaml.load(SOURCE.read_text("utf-8"), yaml.CSafeLoader)
    return source


def _config() -> Schema:
    """Returns the schema of Leyden's own settings, without those that the chart sets."""
    whole = ServerConfig.model_json_schema()
    properties = {}
    for name, each in whole["properties"].items():
        section = each.get("$ref", "").rpartition("/")[2]
        if section:
            sub = whole["$defs"][section]
            keys = {
                k: _bare(v) for k, v in sub["properties"].items() if k not in SET_BY_CHART[name]
            }
            properties[name] = {
                "description": sub["description"],
                "type": "object",
                "additionalProperties": False,
                "properties": keys,
            }
        elif name not in SET_BY_CHART:
            properties[name] = _bare(each)
    return {"additionalProperties": False, "properties": properties}


def _bare(schema: Schema) -> Schema:
    """Returns it without what says nothing to Helm; defaults are the server's to fill in."""
    bare = {key: value for key, value in schema.items() if key not in {"title", "default"}}
    if "description" in bare:
        bare["description"] = " ".join(bare["description"].split())
    return bare


def _rows(properties: Schema, prefix: str, defaults: Any) -> Iterator[str]:
    for name, each in properties.items():
        if name == "global":
            continue
        default = defaults.get(name) if isinstance(defaults, dict) else None
        sections = each.get("properties")
        if sections and "description" not in each:
            yield from _rows(sections, f"{prefix}{name}.", default)
            continue
        shown = "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"
        if isinstance(default, list) and any(isinstance(one, dict) for one in default):
            shown = "see below" if name == "workerGroups" else shown
        meaning = " ".join(each.get("description", "").split())
        if "enum" in each:
            meaning += f" One of {', '.join(f'`{one}`' for one in each['enum'])}."
        yield f"`{prefix}{name}` | {shown} | {meaning}".replace("|  |", "| |")
        items = each.get("items", {})
        if "properties" in items and name in {"models", "workerGroups"}:
            yield from _rows(items["properties"], f"{prefix}{name}[].", None)
