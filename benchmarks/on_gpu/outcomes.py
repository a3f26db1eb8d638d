"""Reads what `only_gpu_tests` writes; it needs no pytest."""

import json
from pathlib import Path

__all__ = ["read_outcomes"]


def read_outcomes(file: Path) -> dict[str, int | list[str]]:
    """Return how many tests passed and were skipped until then, and the names of the others."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    by_outcome = {
        outcome: [line["test"] for line in lines if line["outcome"] == outcome]
        for outcome in ("passed", "skipped", "failed")
    }
    return {
        "passed": len(by_outcome["passed"]),
        "skipped": len(by_outcome["skipped"]),
        "failed": by_outcome["failed"],
    }
