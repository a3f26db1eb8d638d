"""Reads a page of metrics as Prometheus would, with the parsers of its own library."""

import asyncio
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from support.patience import PATIENCE_S

__all__ = ["OPENMETRICS", "PROMETHEUS_ACCEPTS", "Scrape", "difference", "scrape", "scraped"]

OPENMETRICS = "application/openmetrics-text"

PROMETHEUS_ACCEPTS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends."""

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scrape:
    """A page, parsed."""

    content_type: str
    text: str
    values: Mapping[tuple[str, Labels], float]
    types: Mapping[str, str]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of one series; KeyError where there is none."""
        return self.values[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all series that have these labels."""
        wanted = set(labels.items())
        return sum(v for (n, own), v in self.values.items() if n == name and wanted <= own)


def scrape(url: str, accept: str = "") -> Scrape:
    """Fetch a page and parse it by its content type."""
    request = urllib.request.Request(url, headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        text, content_type = response.read().decode(), response.headers["Content-Type"]
    parse = openmetrics if content_type.startswith(OPENMETRICS) else plain
    values: dict[tuple[str, Labels], float] = {}
    types = {}
    for family in parse(text):
        types[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in values, f"{sample.name} twice with {sample.labels}"
            values[key] = sample.value
    return Scrape(content_type, text, values, types)


async def scraped(url: str, accept: str = "") -> Scrape:
    """Fetch a page of a server in this event loop."""
    return await asyncio.to_thread(scrape, url, accept)


def difference(before: Scrape, after: Scrape, *beginnings: str) -> dict[str, float]:
    """Return what has changed, of names that begin so: `name{label="value",…}` to by how much."""
    changed = {}
    for (name, labels), value in after.values.items():
        by = value - before.values.get((name, labels), 0.0)
        if by and name.startswith(beginnings):
            named = ",".join(f"{key}={text}" for key, text in sorted(labels))
            changed[f"{name}{{{named}}}"] = by
    return changed
