"""The shipped manifests are what the chart makes, and would be taken by a cluster and served."""

import json
from pathlib import Path

import pytest
from checks.charts import CURE, made
from support.charts import helm, presets
from support.charts.crds import CRD_FOLDER, kuberay_crds
from support.charts.faults import faults_of
from support.charts.go_modules import NoModuleError
from support.charts.release import Release

OLDEST = ('kuberay.version="1.5"', "ray.tokenAuth=false")


@pytest.fixture(params=presets.PRESETS)
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rendered(preset: str, *sets: str) -> Release:
    try:
        return Release.parse(
            helm.template(presets.CHART, presets.values_of(preset), sets=sets, release="leyden")
        )
    except helm.NoHelmError as error:
        pytest.skip(str(error))


def faults(release: Release, kuberay: str) -> list[str]:
    try:
        return faults_of(release, kuberay)
    except NoModuleError as error:
        assert faults_of(release, None) == []
        pytest.skip(f"held to no definition of a custom resource: {error}")


@pytest.mark.parametrize("file", [*made()], ids=lambda file: "/".join(file.parts[-2:]))
def test_what_is_made_is_up_to_date(file: Path) -> None:
    try:
        text = made()[file]()
    except helm.NoHelmError as error:
        pytest.skip(str(error))
    assert file.read_text("utf-8") == text, CURE


def test_manifests_have_no_fault(preset: str) -> None:
    release = Release.parse(presets.committed(preset).read_text("utf-8"))
    assert faults(release, "1.6") == []


def test_the_oldest_kuberay_takes_the_chart(preset: str) -> None:
    assert faults(rendered(preset, *OLDEST), "1.5") == []


def test_the_oldest_kuberay_would_not_take_a_newer_ones_field() -> None:
    release = Release.parse(presets.committed("production").read_text("utf-8"))
    assert any("authOptions" in fault for fault in faults(release, "1.5"))


def test_a_field_of_the_newest_kuberay_is_no_older_ones() -> None:
    release = rendered("production", 'kuberay.version="1.7"', "ray.encrypted=true")
    assert any("tlsOptions" in fault for fault in faults(release, "1.6"))


@pytest.mark.skipif(CRD_FOLDER not in kuberay_crds(), reason=f"{CRD_FOLDER} names no folder")
def test_the_kuberay_of_a_folder_takes_the_chart(preset: str) -> None:
    for sets in ((), ('kuberay.version="1.7"', "ray.encrypted=true")):
        assert faults(rendered(preset, *sets), CRD_FOLDER) == []


def test_with_tls_and_the_page(preset: str) -> None:
    release = rendered(
        preset,
        'tls={"secretName":"leyden-tls","clientCa":true}',
        'web={"enabled":true,"openai":true}',
        "grpcRoute.enabled=false",
    )
    assert faults(release, "1.6") == []
    assert "tls_client_ca" in release.gateway_config["gateway"]


def test_with_the_dashboard() -> None:
    dashboard = presets.CHART / "files" / "dashboard.json"
    release = rendered("production", "monitoring.dashboard.enabled=true")
    assert faults(release, "1.6") == []
    (config,) = release.of_kind("ConfigMap")
    assert json.loads(config["data"]["leyden.json"]) == json.loads(dashboard.read_text("utf-8"))


def test_alerts_lead_to_the_page_that_is_named() -> None:
    release = rendered("production", 'monitoring.docsUrl="https://example.com/docs/"')
    (rules,) = release.of_kind("PrometheusRule")
    links = [
        rule["annotations"]["runbook_url"]
        for group in rules["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert links
    assert all(link.startswith("https://example.com/docs/runbook.md#") for link in links)


def test_with_a_redis_that_is_there() -> None:
    redis = '{"enabled":true,"redisAddress":"redis://redis:6379","redis":{"deploy":false}}'
    release = rendered("production", f"gcsFaultTolerance={redis}")
    assert faults(release, "1.6") == []
    assert not [*release.of_kind("StatefulSet")]


def test_another_release_shares_no_name_and_no_label() -> None:
    try:
        other = helm.template(presets.CHART, presets.values_of("production"), release="blue")
    except helm.NoHelmError as error:
        pytest.skip(str(error))
    release = Release.parse(other)
    assert faults(release, "1.6") == []
    first = Release.parse(presets.committed("production").read_text("utf-8"))

    def names(release: Release) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in release.documents}

    assert not names(release) & names(first)
    for service in first.of_kind("Service"):
        assert not release.hosts(service["spec"]["selector"])
