"""Settings: unknown keys, wrong values, and the printed defaults."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from leyden_cli.server.config_text import config_text
from leyden_server.config import ServerConfig
from leyden_server.errors import ConfigError
from leyden_server.model_repository import ModelEntry
from leyden_server.strict_model import StrictModel


def load(tmp_path: Path, text: str) -> ServerConfig:
    path = tmp_path / "leyden.yaml"
    path.write_text(text, encoding="utf-8")
    return ServerConfig.load(path)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert all(line.startswith(f"{tmp_path / 'leyden.yaml'}: ") for line in message.splitlines())
    return message


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "gateway: {}"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == ServerConfig()


def test_what_is_set_is_taken_and_the_rest_stays(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "models: [a, b]\nmodel_repository: [models]\ngateway: {port: 9000}\n"
        "denoiser:\n  max_batch_rows: 4\n  warmup_sizes_px: [[128, 64]]\n",
    )
    assert config.models == ("a", "b")
    assert config.model_repository == (Path("models"),)
    assert config.gateway.port == 9000
    assert config.gateway.host == ServerConfig().gateway.host
    assert config.denoiser.max_batch_rows == 4
    assert config.denoiser.warmup_sizes_px == ((128, 64),)


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("gatway: {}", "gatway", "gateway"),
        ("Models: [a]", "Models", "models"),
        ("gateway: {prot: 1}", "gateway.prot", "port"),
        ("denoiser: {max_batch_row: 1}", "denoiser.max_batch_row", "max_batch_rows"),
        ("ray: {num_gpu: 1}", "ray.num_gpu", "num_gpus"),
        ("text_encoder: {cache: 1}", "text_encoder.cache", "cache_prompts"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    assert f"{key}: unknown key; the nearest known one is '{nearest}'" in refused(tmp_path, text)


def test_the_denoiser_alone_has_fp8(tmp_path: Path) -> None:
    assert load(tmp_path, "denoiser: {dtype: fp8}").denoiser.dtype == "fp8"
    assert "bfloat16" in refused(tmp_path, "vae: {dtype: fp8}")


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    lines = refused(tmp_path, "gatway: {}\ngateway: {port: -1, hots: x}\nmodels: []").splitlines()

    named = {line.removeprefix(f"{tmp_path / 'leyden.yaml'}: ").split(":")[0] for line in lines}
    assert named == {"gatway", "gateway.port", "gateway.hots", "models"}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("gateway: {port: eighty}", "gateway.port"),
        ("gateway: {port: 65536}", "gateway.port"),
        ("gateway: {port: -1}", "gateway.port"),
        ("gateway: {port: 80.5}", "gateway.port"),
        ("gateway: {port: null}", "gateway.port"),
        ("gateway: {host: 127}", "gateway.host"),
        ("gateway: {drain_timeout_s: -1}", "gateway.drain_timeout_s"),
        ("gateway: {drain_timeout_s: .inf}", "gateway.drain_timeout_s"),
        ("gateway: {drain_timeout_s: .nan}", "gateway.drain_timeout_s"),
        ("gateway: {max_image_count: 8, max_waiting_images: 7}", "gateway"),
        ("gateway: {shared_memory: true, replicas: 2}", "gateway"),
        ("gateway: 3", "gateway"),
        ("gateway: null", "gateway"),
        ("models: []", "models"),
        ("models: [1]", "models.0"),
        ("models: name", "models"),
        ("denoiser: {max_batch_rows: 0}", "denoiser.max_batch_rows"),
        ("denoiser: {dtype: float8}", "denoiser.dtype"),
        ("text_encoder: {dtype: fp8}", "text_encoder.dtype"),
        ("vae: {dtype: fp8}", "vae.dtype"),
        ("denoiser: {num_gpus: -1}", "denoiser.num_gpus"),
        ("denoiser: {min_replicas: 3, max_replicas: 2}", "denoiser"),
        ("denoiser: {min_replicas: -1}", "denoiser.min_replicas"),
        ("denoiser: {min_replicas: 0, max_replicas: 0}", "denoiser.max_replicas"),
        ("denoiser: {warmup_sizes_px: [[1, 2, 3]]}", "denoiser.warmup_sizes_px"),
        ("vae: {encode_threads: 0}", "vae.encode_threads"),
        ("ray: {object_store_memory_bytes: 1}", "ray.object_store_memory_bytes"),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path: Path, text: str, key: str) -> None:
    assert f"leyden.yaml: {key}" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "just text", "a: [", "\ttab: 1", "{1: 2}", "a: !!python/object:os.system {}"]
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert refused_any_line(tmp_path, text)


def refused_any_line(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError, match=re.escape(str(tmp_path / "leyden.yaml"))) as caught:
        load(tmp_path, text)
    return str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match=re.escape(f"{path}: cannot be read")):
            ServerConfig.load(path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "leyden.yaml"
    path.write_bytes("gateway: {host: é}".encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        ServerConfig.load(path)


def test_settings_are_frozen() -> None:
    config = ServerConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.models = ("x",)
    with pytest.raises(ValidationError, match="frozen"):
        config.gateway.port = 1


def test_replace_lays_keys_over() -> None:
    config = ServerConfig().replace(gateway={"replicas": 2})
    changed = config.replace(models=("m",), gateway={"port": 0}, denoiser={"max_batch_rows": 3})

    assert changed.models == ("m",)
    assert (changed.gateway.port, changed.gateway.replicas) == (0, 2)
    assert changed.denoiser.max_batch_rows == 3
    assert changed.vae == ServerConfig().vae
    assert config == ServerConfig().replace(gateway={"replicas": 2})
    assert config.replace() == config


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"gatway": {}}, "gatway: unknown key; the nearest known one is 'gateway'"),
        ({"gateway": {"prot": 1}}, "gateway.prot: unknown key; the nearest known one is 'port'"),
        ({"gateway": {"port": 99999}}, "gateway.port"),
        ({"models": ()}, "models"),
    ],
)
def test_replace_checks_what_it_is_given(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ServerConfig().replace(**sections)


def test_the_printed_defaults_are_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, config_text()) == ServerConfig()


def test_every_key_is_printed_under_its_meaning() -> None:
    lines = config_text().splitlines()
    for name, _ in keys(ServerConfig):
        key = name.split(".")[-1]
        at = [i for i, line in enumerate(lines) if line.strip().split(":")[0] == key]
        assert at, name
        assert all(lines[i - 1].strip().startswith("# ") for i in at), name


@pytest.mark.parametrize("model", [ServerConfig, ModelEntry])
def test_every_key_has_a_description(model: type[BaseModel]) -> None:
    described = dict(keys(model))

    assert len(described) > 10
    assert [name for name, text in described.items() if len(text) < 5] == []


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field.description or ""
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, StrictModel):
                yield from keys(kind, f"{prefix}{name}.")


def test_a_key_that_was_renamed_names_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "leyden.yaml"
    file.write_text("image_decoder: {tile_px: 512}\n")
    with pytest.raises(ConfigError, match="image_decoder: is called 'vae' now"):
        ServerConfig.load(file)
