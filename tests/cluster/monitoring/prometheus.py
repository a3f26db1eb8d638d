"""A real Prometheus: what it scrapes, and what it answers."""

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from cluster.monitoring.processes import Program, running
from cluster.monitoring.waiting import wait_for
from support.patience import PATIENCE_S

__all__ = ["Prometheus", "prometheus"]

PERIOD = "1s"
"""Of scrapes and of evaluations: a minute of load is then as much data as a quarter of an hour."""

SHORT_FOR = "2s"
"""In place of each alert's own `for`, which only says how long an expression is to hold."""


class Prometheus:
    """Asked over its HTTP API."""

    def __init__(self, url: str, targets: Path) -> None:
        """Take where it listens, and the file in which it looks for targets."""
        self._url = url
        self._targets = targets
        self._settled_s = time.monotonic()

    def scrape(self, *addresses: str) -> None:
        """Have these scraped from now on, as the job `leyden`, and no others."""
        groups = [{"targets": list(addresses)}] if addresses else []
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(groups), "utf-8")
        fresh.rename(self._targets)

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer.

        Raises:
            RuntimeError: it is an error; the text is Prometheus'.

        """
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{parameters}: {error.read().decode()}") from error
        return answer["data"]

    def query(self, expr: str) -> list[tuple[Mapping[str, str], float]]:
        """Return the series of an expression now, with their values."""
        found = self.ask("query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def rules(self) -> list[Mapping[str, Any]]:
        """Return every rule with its health and when it was last evaluated."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> dict[str, Mapping[str, Any]]:
        """Return the alerts that fire now, by their names; of several of a name the last."""
        alerts = self.ask("alerts")["alerts"]
        return {a["labels"]["alertname"]: a for a in alerts if a["state"] == "firing"}

    def settle(self) -> None:
        """Wait until no alert fires; `have_fired` begins there."""
        wait_for("the alerts' end", lambda: not self.firing())
        self._settled_s = time.monotonic()

    def have_fired(self) -> set[str]:
        """Return the alerts that have fired since it has settled."""
        since_s = int(time.monotonic() - self._settled_s)
        if since_s == 0:
            return set(self.firing())
        selector = f'ALERTS{{alertstate="firing"}}[{since_s}s]'
        fired = self.query(f"count by (alertname) (last_over_time({selector}))")
        return {labels["alertname"] for labels, _ in fired}

    def wait_for_alert(self, name: str) -> Mapping[str, Any]:
        """Return an alert once it fires."""
        return wait_for(f"alert {name}", lambda: self.firing().get(name))

    def wait_for_evaluations(self, rounds: int = 3) -> None:
        """Return once all rules have been evaluated so many times more on fresh scrapes."""
        for _ in range(rounds):
            last = max(rule["lastEvaluation"] for rule in self.rules())
            wait_for("an evaluation of every rule", partial(self._have_been_evaluated, last))

    def _have_been_evaluated(self, since: str) -> bool:
        return all(rule["lastEvaluation"] > since for rule in self.rules())


@contextmanager
def prometheus(rules: Path, folder: Path) -> Iterator[Prometheus]:
    """Run one with a rule file, whose alerts fire after a moment."""
    targets = folder / "targets.json"
    targets.write_text("[]", "utf-8")
    groups = yaml.safe_load(rules.read_text("utf-8"))
    for group in groups["groups"]:
        group["interval"] = PERIOD
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = SHORT_FOR
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups), "utf-8")
    config = {
        "global": {"scrape_interval": PERIOD, "evaluation_interval": PERIOD},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "leyden",
                "file_sd_configs": [{"files": [str(targets)], "refresh_interval": PERIOD}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", "--web.listen-address=127.0.0.1:0"]
    with running(command, folder, "prometheus") as program:
        yield Prometheus(_url(program), targets)


def _url(program: Program) -> str:
    """Return where it listens, once it is ready: it says so in its log."""

    def look() -> str:
        program.said()
        log = program.log()
        port = re.search(r"address=127\.0\.0\.1:([1-9]\d*)", log)
        return f"http://127.0.0.1:{port[1]}" if port and "ready to receive" in log else ""

    return wait_for("Prometheus", look)
