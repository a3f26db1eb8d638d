"""The chart's serveConfigV2 is what `leyden serve --print-serve-config` prints."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import helm, presets
from support.charts.release import Release

from leyden_cli.main import main
from leyden_server.config import ServerConfig
from leyden_server.errors import ConfigError

Object = dict[str, Any]

VALUES = {
    "stages that rest": (
        'config={"denoiser":{"num_gpus":1,"min_replicas":0,"max_replicas":8},'
        '"text_encoder":{"num_gpus":0.5,"min_replicas":0,"max_replicas":1,'
        '"downscale_to_zero_delay_s":900},"vae":{"num_gpus":0.5}}',
    ),
    "a page, other settings": (
        'web={"enabled":true,"openai":true}',
        'config={"ray":{"instance":"blue"},"gateway":{"max_waiting_images":128},'
        '"denoiser":{"num_gpus":1},"text_encoder":{"num_gpus":0.5},"vae":{"num_gpus":0.5}}',
    ),
    "TLS": ('tls={"secretName":"leyden-tls","clientCa":true}', "grpcRoute.enabled=false"),
}


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_shipped_ones_are_what_leyden_prints(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = Release.parse(presets.committed(preset).read_text("utf-8"))
    assert _normal(release.serve_config) == _normal(_printed(release, tmp_path, capsys))


@pytest.mark.parametrize("sets", VALUES.values(), ids=VALUES)
def test_others_are_too(
    sets: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        text = helm.template(presets.CHART, presets.values_of("production"), sets=sets)
    except helm.NoHelmError as error:
        pytest.skip(str(error))
    release = Release.parse(text)
    assert _normal(release.serve_config) == _normal(_printed(release, tmp_path, capsys))


def test_several_models_divide_the_default_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = '[{"name":"leyden-tiny-base"},{"name":"leyden-tiny-lightning-4step"}]'
    shared = models.replace('4step"', '4step","sharesWith":"leyden-tiny-base"')
    try:
        text = helm.template(presets.CHART, sets=(f"models={shared}",))
    except helm.NoHelmError as error:
        pytest.skip(str(error))
    release = Release.parse(text)
    printed = _printed(release, tmp_path, capsys)
    assert "alike" in str(printed)
    assert _normal(release.serve_config) == _normal(printed)


def _printed(release: Release, folder: Path, capsys: pytest.CaptureFixture[str]) -> Object:
    """Return what the command prints for the settings that a release has, all in one file."""
    settings = dict(release.gateway_config)
    for application in release.serve_config["applications"][:-1]:
        args, (deployment,) = application["args"], application["deployments"]
        scaling = deployment["autoscaling_config"]
        known = ServerConfig().model_dump()[args["stage"]]
        section = {**args["config"][args["stage"]], **scaling}
        settings[args["stage"]] = {key: section[key] for key in section if key in known}
    file = folder / "leyden.yaml"
    file.write_text(yaml.safe_dump(settings), "utf-8")
    capsys.readouterr()
    assert main(["serve", "--config", str(file), "--print-serve-config"]) == 0
    printed: Object = yaml.safe_load(capsys.readouterr().out)
    return printed


def _normal(config: Object) -> Object:
    """Return it without settings that are the default, which the command leaves out."""
    applications = []
    for application in config["applications"]:
        args = application["args"]
        settings = ServerConfig.from_mapping(args.get("config", {}), "args", ConfigError)
        kept = settings.model_dump(mode="json", exclude_defaults=True)
        applications.append({**application, "args": {**args, "config": kept}})
    return {**config, "applications": applications}
