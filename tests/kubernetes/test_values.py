"""Wrong values are refused before anything is made, with the value's name and what is allowed."""

import pytest
from support.charts import helm, presets
from support.charts.values_schema import SET_BY_CHART

from leyden_server.config import ServerConfig

GROUPS = '{"name":"a","hosts":["gateway","text_encoder","denoiser","vae"],"maxPods":1'
RESOURCES = '"resources":{"cpu":"1","memory":"1Gi"}'

WITHOUT_VAE = GROUPS.replace(',"vae"', "")

REFUSED = {
    # By the schema.
    "a misspelt value": ('modles=[{"name":"a"}]', "'modles' not allowed"),
    "one of a section": ('image={"tag":"1"}', "at '/image': additional properties 'tag'"),
    "one of a group": (f'workerGroups=[{GROUPS},"minpods":1,{RESOURCES}}}]', "'minpods' not all"),
    "a misspelt setting": ('config={"vae":{"tile":1}}', "at '/config/vae': additional"),
    "a setting that the chart sets": ('config={"gateway":{"port":1}}', "'port' not allowed"),
    "a wrong setting": ('config={"vae":{"tile_px":64}}', "'/config/vae/tile_px': minimum: got 64"),
    "no model": ("models=[]", "at '/models': minItems: got 0, want 1"),
    "an unknown stage": (
        f'workerGroups=[{GROUPS.replace("vae", "unet")},"minPods":1,{RESOURCES}}}]',
        "value must be one of 'gateway', 'text_encoder', 'denoiser', 'vae'",
    ),
    "an unknown KubeRay": ('kuberay.version="1.4"', "value must be one of '1.5', '1.6', '1.7'"),
    "too short a time": ("longestGenerationSeconds=5", "minimum: got 5, want 15"),
    "a text for a number": ('longestGenerationSeconds="60"', "got string, want integer"),
    "root": ("podSecurity.user=0", "at '/podSecurity/user': minimum: got 0, want 1"),
    "no amount of memory": ('head.resources.memory="2 GB"', "at '/head/resources/memory'"),
    # By the chart, of several values.
    "a token for 1.5": ('kuberay.version="1.5"', "ray.tokenAuth: KubeRay 1.5.0 knows no tokens"),
    "encryption before 1.7": ("ray.encrypted=true", "ray.encrypted: needs kuberay.version 1.7"),
    "a long name": (f'fullnameOverride="{"a" * 48}"', "KubeRay allows 47 characters"),
    "a stage without a group": (
        f'workerGroups=[{WITHOUT_VAE},"minPods":1,{RESOURCES}}}]',
        "no group hosts vae",
    ),
    "a stage with two": (
        f'workerGroups=[{GROUPS},"minPods":1,{RESOURCES}}},'
        f'{{"name":"b","hosts":["vae"],"minPods":1,"maxPods":1,{RESOURCES}}}]',
        "vae is hosted by a and by b",
    ),
    "no range": (
        f'workerGroups=[{GROUPS},"minPods":2,{RESOURCES}}}]',
        "minPods 2 is more than maxPods 1",
    ),
    "pods that come without an autoscaler": (
        f'workerGroups=[{GROUPS},"minPods":0,{RESOURCES}}}]',
        "which needs autoscaler.enabled",
    ),
    "GPUs without shares": (
        f'workerGroups=[{GROUPS},"minPods":1,"gpus":1,{RESOURCES}}}]',
        "config.text_encoder.num_gpus: needed",
    ),
    "a model twice": ('models=[{"name":"a"},{"name":"a"}]', "models: a is there twice"),
    "a base of nobody": ('models=[{"name":"a","sharesWith":"b"}]', "no model before it"),
    "no Redis": ("gcsFaultTolerance.enabled=true", "gcsFaultTolerance: needs redisAddress"),
    "a client's authority alone": ("tls.clientCa=true", "tls.clientCa: needs tls.secretName"),
    "a route to nowhere": ("grpcRoute.enabled=true", "grpcRoute.parentRefs: needed"),
    "OpenAI's API without its port": ("web.openai=true", "web.openai: needs web.enabled"),
}


@pytest.mark.parametrize(("value", "said"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(value: str, said: str) -> None:
    try:
        with pytest.raises(helm.Refused) as refused:
            helm.template(presets.CHART, sets=(value,))
    except helm.NoHelmError as error:
        pytest.skip(str(error))
    assert said in str(refused.value)


def test_what_the_chart_sets_are_settings_of_leydens() -> None:
    known = ServerConfig().model_dump()
    assert {*SET_BY_CHART} <= {*known}
    for section, keys in SET_BY_CHART.items():
        assert {*keys} <= {*(known[section] if isinstance(known[section], dict) else ())}
