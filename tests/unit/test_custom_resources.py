"""`resources`: what a stage or the Gateway is placed by, beside CPUs and GPUs."""

from typing import Any

import pytest

from leyden_server.config import ServerConfig
from leyden_server.controller.options import gateway_options, stage_options
from leyden_server.controller.stage_applications import WishedApplication, lacking
from leyden_server.errors import ConfigError

SECTIONS = ("gateway", "text_encoder", "denoiser", "vae")


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_has_its_own(section: str) -> None:
    config = ServerConfig().replace(**{section: {"resources": {"near_a_disk": 0.5}}})
    options = {name: _options(config, name)["ray_actor_options"] for name in SECTIONS}
    asked = {name: one["resources"] for name, one in options.items()}
    assert asked.pop(section) == {"near_a_disk": 0.5}
    assert [*asked.values()] == [{}] * 3


@pytest.mark.parametrize("name", ["", "CPU", "GPU", "memory", "object_store_memory"])
def test_what_ray_counts_itself_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"vae\.resources: a custom resource's name, not"):
        ServerConfig().replace(vae={"resources": {name: 1}})


@pytest.mark.parametrize("amount", [0, -1, 1.5])
def test_an_amount_is_a_part_of_one_or_whole(amount: float) -> None:
    with pytest.raises(ConfigError, match=r"vae\.resources: x: above 0, and above 1 a whole"):
        ServerConfig().replace(vae={"resources": {"x": amount}})


def test_one_gateway_a_node_where_it_is_asked_for() -> None:
    assert "max_replicas_per_node" not in gateway_options(ServerConfig().gateway)
    config = ServerConfig().replace(gateway={"max_replicas_per_node": 1})
    assert gateway_options(config.gateway)["max_replicas_per_node"] == 1


def test_a_resource_that_ray_has_not_is_named() -> None:
    config = ServerConfig().replace(vae={"resources": {"leyden_vae": 1}})
    wished = [WishedApplication("leyden-vae-x", None, _options(config, "vae"), 2, ())]
    assert lacking(wished, {"CPU": 8, "leyden_vae": 2}) == ""
    assert lacking(wished, {"CPU": 8, "leyden_vae": 1}) == (
        "the replicas need 2 leyden_vae and Ray has 1: leyden-vae-x 2; lower "
        "resources.leyden_vae or min_replicas of a stage, or load fewer models"
    )


def _options(config: ServerConfig, section: str) -> dict[str, Any]:
    if section == "gateway":
        return gateway_options(config.gateway)
    return stage_options(getattr(config, section), 0)
