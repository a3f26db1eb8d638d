"""What `--print-serve-config` writes: which stages are shared, and where each setting stands."""

from typing import Any

import pytest

from leyden_server.config import ServerConfig
from leyden_server.controller.serve_config import serve_config
from leyden_server.errors import ConfigError, ModelRepositoryError

LIGHTNING, BASE, HYPER = "sdxl-lightning-4step", "sdxl-base", "hyper-sd-4step"


def written(**settings: Any) -> dict[str, Any]:
    """Return the applications by their names without what they all begin with."""
    config = serve_config(ServerConfig().replace(**settings))
    return {one["name"].removeprefix("leyden-"): one for one in config["applications"]}


def test_models_with_one_base_share_what_their_entries_leave_alone() -> None:
    applications = written(models=[LIGHTNING, BASE, HYPER, "leyden-tiny-base"])
    stages = applications["gateway"]["args"]["stages"]
    encoders, vaes = (
        {model: names[kind].removeprefix("leyden-") for model, names in stages.items()}
        for kind in ("text_encoder", "vae")
    )
    # A LoRA may change the text encoders; which it does, its file alone says.
    assert encoders == {
        LIGHTNING: f"text-encoder-{LIGHTNING}",
        BASE: f"text-encoder-{LIGHTNING}",
        HYPER: f"text-encoder-{HYPER}",
        "leyden-tiny-base": "text-encoder-leyden-tiny-base",
    }
    assert vaes == {
        LIGHTNING: f"vae-{LIGHTNING}",
        BASE: f"vae-{LIGHTNING}",
        HYPER: f"vae-{LIGHTNING}",
        "leyden-tiny-base": "vae-leyden-tiny-base",
    }
    named = {name.removeprefix("leyden-") for one in stages.values() for name in one.values()}
    assert {*named, "gateway"} == set(applications)


def test_another_number_of_replicas_changes_no_args() -> None:
    few = written(models=[LIGHTNING], denoiser={"num_gpus": 1})
    many = written(
        models=[LIGHTNING],
        denoiser={"num_gpus": 1, "min_replicas": 2, "max_replicas": 8, "upscale_delay_s": 1},
    )
    assert {name: one["args"] for name, one in few.items()} == {
        name: one["args"] for name, one in many.items()
    }
    denoiser = f"denoiser-{LIGHTNING}"
    for of, asked in ((few, (1, 1, 1)), (many, (2, 2, 8))):
        # With num_replicas in the one, Serve would take the other for another version.
        scaling = of[denoiser]["deployments"][0]["autoscaling_config"]
        names = ("min_replicas", "initial_replicas", "max_replicas")
        assert tuple(scaling[name] for name in names) == asked


def test_a_setting_of_one_stage_changes_that_stages_args_and_the_gateways() -> None:
    before = written(models=[LIGHTNING])
    after = written(models=[LIGHTNING], vae={"max_batch_images": 2})
    changed = {name for name, one in after.items() if one["args"] != before[name]["args"]}
    assert changed == {f"vae-{LIGHTNING}", "gateway"}


def test_a_gateway_is_told_which_stages_may_rest() -> None:
    gateway = written(vae={"min_replicas": 0, "downscale_to_zero_delay_s": 60})["gateway"]
    assert gateway["args"]["config"]["vae"] == {
        "min_replicas": 0,
        "downscale_to_zero_delay_s": 60.0,
    }


def test_replicas_that_share_a_gpu_by_default_know_how_many_they_are() -> None:
    applications = written(
        models=[LIGHTNING, BASE], denoiser={"min_replicas": 2, "max_replicas": 3}
    )
    assert applications[f"denoiser-{BASE}"]["args"]["alike"] == 4
    assert "alike" not in applications[f"vae-{LIGHTNING}"]["args"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"in_process": True}, "in_process: a Serve config deploys each stage on its own"),
        ({"gateway": {"port": 0}}, "gateway.port: from 1 to 65535 where nobody holds it"),
        ({"gateway": {"metrics_port": 0}}, "gateway.metrics_port: from 1 to 65535, or null"),
        ({"models": ["sdxl-lightning"]}, "no model 'sdxl-lightning'; did you mean"),
    ],
)
def test_settings_that_no_serve_config_can_have(settings: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, ModelRepositoryError)) as caught:
        written(**settings)
    assert said in str(caught.value)
