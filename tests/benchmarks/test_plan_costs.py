"""What `leyden plan` knows of GPUs is what benchmarks/results say."""

import json
from pathlib import Path

import pytest
from benchmarks import plan_costs


@pytest.mark.parametrize("gpu", plan_costs.KNOWN)
def test_the_costs_are_made_of_the_results(gpu: str) -> None:
    kept = (plan_costs.COSTS / f"{gpu}.json").read_text(encoding="utf-8")
    assert kept == plan_costs.text_of_known(gpu), "python -m benchmarks.plan_costs write"


def test_a_changed_result_is_seen(tmp_path: Path) -> None:
    stages, server = plan_costs.KNOWN["h100"]
    results = json.loads((plan_costs.RESULTS / stages).read_text(encoding="utf-8"))
    results["rows"][0]["wall_ms"]["median"] += 1
    changed = tmp_path / stages
    changed.write_text(json.dumps(results), encoding="utf-8")
    made = plan_costs.text_of(changed, plan_costs.RESULTS / server)
    assert made != plan_costs.text_of_known("h100")
