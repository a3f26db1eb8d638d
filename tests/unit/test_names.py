"""No two instances of a server have one name in Ray."""

import pytest

from leyden_server.config import RayConfig, ServerConfig
from leyden_server.controller.names import Names
from leyden_server.errors import ConfigError


def test_every_name_begins_with_the_instance() -> None:
    names = Names("mine")
    made = [names.gateway, names.directory, names.denoiser("m"), names.vae("b")]
    made += [names.text_encoder("b")]
    assert tuple(made[:3]) == ("mine-gateway", "mine-directory", "mine-denoiser-m")
    assert len(set(made)) == 5
    assert all(names.owns(name) for name in made)
    assert names.vae("b") == Names("mine").vae("b") != names.vae("c")


def test_a_model_cannot_make_a_name_of_another_instance() -> None:
    assert not Names("leyden").owns(Names("leyden_b").denoiser("x"))
    assert not Names("leyden_denoiser").owns(Names("leyden").denoiser("gateway"))


def test_the_section_of_an_application_is_known() -> None:
    names = Names("mine")
    sections = {
        names.gateway: "gateway",
        names.text_encoder("b"): "text_encoder",
        names.denoiser("vae-x"): "denoiser",
        names.vae("b"): "vae",
    }
    assert {name: names.section(name) for name in sections} == sections


@pytest.mark.parametrize("instance", ["", "a-b", "A", "1", "a" * 41, "a b"])
def test_an_instance_that_would_blur_names_is_refused(instance: str) -> None:
    with pytest.raises(ConfigError, match=r"ray\.instance"):
        ServerConfig().replace(ray={"instance": instance})


@pytest.mark.parametrize("address", ["", "ray://h:1", "h", "h:x", "http://h:1", "h:1/"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"ray\.address"):
        ServerConfig().replace(ray={"address": address})


@pytest.mark.parametrize("address", ["local", "auto", "127.0.0.1:6379", "[::1]:6379"])
def test_addresses(address: str) -> None:
    assert RayConfig(address=address).address == address
