"""What a part of `make test-cluster` is."""

import argparse
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from cluster.report import Report

__all__ = ["Part"]


def _nothing_is_missing() -> str:
    return ""


def _has_no_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing to a parser."""


@dataclass(frozen=True)
class Part:
    """One subcommand: the module `part` of a folder beside this file has it as PART."""

    summary: str
    """One line, for --help."""
    run: Callable[[argparse.Namespace, Report], None]
    """Reports each check to the Report; anything that is raised is a check that failed. Ctrl-C
    and SIGTERM come as KeyboardInterrupt: what was started is ended in `finally`."""
    missing: Callable[[], str] = _nothing_is_missing
    """Says why this machine cannot run the part, and what would; "": it can. Takes no time."""
    add_options: Callable[[argparse.ArgumentParser], None] = _has_no_options
    """Adds the options of the subcommand; each has a default."""

    def run_reported(self, options: argparse.Namespace, report: Report, *, asked_for: bool) -> None:
        """Run it, whatever comes of it; the report has that.

        `asked_for` is whether it was named: then what is missing is a failure.
        """
        if why := self.missing():
            note = report.fails if asked_for else report.skips
            note("all of it", why)
            return
        before = len(report.rows)
        try:
            self.run(options, report)
        except Exception as error:  # noqa: BLE001 - other parts still run, and all is reported
            traceback.print_exc()
            report.fails("it runs to its end", f"{type(error).__name__}: {error}")
        else:
            if len(report.rows) == before:
                report.fails("it checks something", "the part ended without a single check")
