"""`leyden plan`, as its users run it: short simulations, their tables, JSON and values."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from leyden_cli.main import main
from leyden_server.config import ServerConfig
from leyden_server.errors import ConfigError

CHART = Path(__file__).parents[2] / "k8s" / "charts" / "leyden" / "values.schema.json"

SHORT = ["--length", "20s", "--day-length", "40s", "--burst-length", "5s", "--node-away", "10s"]
GOAL = ["plan", "--rate", "20/s", "--gpu", "h100", "--p95", "2s", *SHORT]


def test_a_plan_says_what_is_needed_and_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GOAL, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    # A denoiser does 14.7 images/s at the most, a VAE 24.9: by hand, of docs/gpu.md's times.
    assert {name: stage["min_replicas"] for name, stage in plan["stages"].items()} == {
        "text_encoder": 1,
        "denoiser": 2,
        "vae": 1,
    }
    assert (plan["gpus"], plan["gateways"]) == (3, 1)
    assert set(plan["scenarios"]) == {"steady", "bursts", "day", "node"}
    steady = plan["scenarios"]["steady"]
    assert steady["met"]
    assert steady["without"] == {}
    assert 0.18 < steady["p50_s"] < steady["p95_s"] < 2
    for name in ("steady", "bursts", "day", "node"):
        seen = plan["scenarios"][name]
        assert seen["images"] + sum(seen["without"].values()) == seen["requests"]
    assert plan["scenarios"]["node"]["retried"] > 0
    assert plan["limits"][0]["rate_per_s"] == min(one["rate_per_s"] for one in plan["limits"])


def test_the_same_seed_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for seed in ("3", "3", "4"):
        assert main([*GOAL, "--seed", seed]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] != tables[2]
    assert "needed: 3 GPUs" in tables[0]
    assert "no more to give" in tables[0]


def test_the_values_hold_a_config_that_the_server_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*GOAL, "--values"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    config = ServerConfig.from_mapping(values["config"], "the values", ConfigError)
    assert (config.denoiser.min_replicas, config.vae.min_replicas) == (2, 1)
    assert config.text_encoder.num_gpus == 0.1
    pods = {group["name"]: group["minPods"] for group in values["workerGroups"]}
    assert pods == {"gateway": 1, "denoiser": 2, "vae": 1}
    jsonschema.validate(values, json.loads(CHART.read_text(encoding="utf-8")))
    shares = config.text_encoder.num_gpus + (config.vae.num_gpus or 0)
    assert shares == 1, "a text encoder stands on a VAE's card"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--p95", "130ms"], ("cannot be met", "0.182 s", "--steps 1", "--size 512")),
        (["--gpu", "a100"], ("nothing was measured on 'a100'", "h100, h200")),
        (["--size", "768"], ("768 px was not measured", "512, 1024")),
        (["--mix", "steps=4,size=300"], ("300 px was not measured",)),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    arguments: list[str], said: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GOAL, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    for part in said:
        assert part in error


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--rate", "20", "20/s, 1200/min"),
        ("--rate", "-1/s", "20/s, 1200/min"),
        ("--rate", "5/day", "s, sec, min, h"),
        ("--p95", "2", "2s, 800ms"),
        ("--p95", "0s", "above 0"),
        ("--steps", "0", "a whole number from 1 to 100"),
        ("--mix", "stepz=4", "steps, size, guidance, share"),
        ("--mix", "steps=x", "steps: 'x' is not a whole number"),
        ("--meet", "nodes", "steady, bursts, day, node"),
        ("--night", "2", "from 0 to 1"),
    ],
)
def test_a_wrong_value_is_named(
    option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*GOAL, f"{option}={value}"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert option in error
    assert said in error


def test_rates_and_times_have_units(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--rate", "600/min", "--gpu", "h200", "--p95", "1500ms", *SHORT, "--json"]
    assert main([*words, "--together", "--mix", "steps=4,share=3", "--mix", "steps=8"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["goal"]["rate_per_s"], plan["goal"]["p95_s"]) == (10, 1.5)
    assert [kind["steps"] for kind in plan["goal"]["kinds"]] == [4, 8]
    assert {stage["num_gpus"] for stage in plan["stages"].values()} == {0.1, 0.6, 0.3}


def test_costs_of_ones_own_are_read_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = Path(__file__).parents[2] / "server" / "leyden_server" / "sizing" / "costs"
    costs = json.loads((known / "h100.json").read_text())
    file = tmp_path / "mine.json"
    goal = ["plan", "--rate", "5/s", "--p95", "2s", *SHORT, "--json", "--costs", str(file)]
    file.write_text(json.dumps({**costs, "gpu": "mine"}))
    assert main(goal) == 0
    assert json.loads(capsys.readouterr().out)["gpu"] == "mine"
    file.write_text(json.dumps({**costs, "strat_s": 3}))
    assert main(goal) == 1
    assert "strat_s: unknown key; the nearest known one is 'start_s'" in capsys.readouterr().err
    assert main([*goal[:-1], str(tmp_path / "none.json")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_second_scenario_may_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GOAL, "--meet", "bursts", "--burst", "1.5", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["scenarios"]["bursts"]["met"]
    assert plan["gpus"] >= 3
