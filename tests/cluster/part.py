"""What a part of `make test-cluster` is."""

import argparse
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
