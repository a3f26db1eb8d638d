"""`leyden models pull` against a hub on loopback, as a process of its own."""

import hashlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from support.checkpoint_files import write_sharded
from support.entry_checkpoints import LORAS, UNETS
from support.hub_stand_in import HubStandIn, hub_stand_in
from support.patience import PATIENCE_S
from support.puller import (
    BASE_REPO,
    FOUR_STEPS,
    LIGHTNING_REPO,
    ONE_STEP,
    Published,
    Puller,
    write_published,
)

from leyden_cli import main as cli_main
from leyden_cli.main import main
from leyden_server.errors import ModelRepositoryError
from leyden_server.model_repository import ModelRepository, ResolvedModel
from leyden_server.model_repository.repository import SHIPPED_MODELS

NEEDED_OF_BASE = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder_2/config.json",
    "text_encoder_2/model.fp16.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "tokenizer_2/merges.txt",
    "tokenizer_2/special_tokens_map.json",
    "tokenizer_2/tokenizer_config.json",
    "tokenizer_2/vocab.json",
    "unet/config.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
}
UNET_OF_BASE = "unet/diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture(scope="module")
def published(random_model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return write_published(tmp_path_factory.mktemp("published"), random_model.base_folder)


@pytest.fixture
def hub(published: Published) -> Iterator[HubStandIn]:
    with hub_stand_in() as hub:
        hub.add(BASE_REPO, published.base)
        hub.add(LIGHTNING_REPO, published.lightning)
        yield hub


@pytest.fixture
def puller(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Puller:
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return Puller(hub.url, cache)


def partials(cache: Path) -> list[Path]:
    return list(cache.rglob("*.incomplete"))


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def test_what_a_model_needs_is_fetched_and_nothing_else(
    hub: HubStandIn, puller: Puller, published: Published
) -> None:
    out = puller.done("sdxl-lightning-4step")

    assert "openrail++" in out
    assert "leyden serve --model sdxl-lightning-4step" in out
    assert set(hub.fetched("HEAD")) == NEEDED_OF_BASE | {FOUR_STEPS}
    # Each once, and the second tokenizer not at all: its bytes are those of the first.
    twins = {name for name in NEEDED_OF_BASE if name.startswith("tokenizer_2/")}
    assert sorted(hub.fetched()) == sorted(NEEDED_OF_BASE - twins | {FOUR_STEPS})
    model = ModelRepository().resolve("sdxl-lightning-4step")
    assert model.unet_file is not None
    assert same_bytes(model.unet_file, published.lightning / FOUR_STEPS)
    for name in NEEDED_OF_BASE:
        assert same_bytes(model.base_folder / name, published.base / name), name
    # The token is for the hub, not for the host that it redirects to.
    tokens = {("/cdn/" in asked.path): asked.authorization for asked in hub.asked}
    assert tokens == {False: "Bearer hf_secret", True: ""}

    # What is complete is said to be so without a word to the hub.
    hub.asked.clear()
    assert "sdxl-lightning-4step is complete" in puller.done("sdxl-lightning-4step")
    assert hub.asked == []

    # Models of one base share its files.
    puller.done("sdxl-lightning-1step")
    assert hub.fetched() == [ONE_STEP]
    one_step = ModelRepository().resolve("sdxl-lightning-1step")
    assert one_step.text_encoder_key == model.text_encoder_key
    hub.asked.clear()
    puller.done("sdxl-base")
    assert hub.fetched() == [UNET_OF_BASE]
    assert ModelRepository().resolve("sdxl-base").text_encoder_key == model.text_encoder_key


def test_a_dry_run_lists_files_and_sizes(hub: HubStandIn, puller: Puller) -> None:
    out = puller.done("sdxl-lightning-4step", "--dry-run")

    assert hub.fetched() == []
    assert not puller.cache.exists()
    assert f"{len(NEEDED_OF_BASE) + 1} files" in out
    for name in NEEDED_OF_BASE | {FOUR_STEPS}:
        assert name in out
    puller.done("sdxl-lightning-4step")
    assert "0 to fetch" in puller.done("sdxl-lightning-4step", "--dry-run")


def test_ctrl_c_keeps_what_has_come_and_the_next_pull_goes_on(
    hub: HubStandIn, puller: Puller, published: Published
) -> None:
    hub.holds[FOUR_STEPS] = 1_500_000
    process = puller.start("sdxl-lightning-4step")
    assert hub.holding.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while not partials(puller.cache) or partials(puller.cache)[0].stat().st_size < 1_000_000:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert "interrupted; what has come is kept" in err
    assert "Traceback" not in err
    (partial,) = partials(puller.cache)
    received = partial.stat().st_size
    assert 1_000_000 <= received <= 1_500_000
    with pytest.raises(ModelRepositoryError, match="leyden models pull sdxl-lightning-4step"):
        ModelRepository().resolve("sdxl-lightning-4step")

    hub.release.set()
    result = puller.run("sdxl-lightning-4step")
    assert result.returncode == 0, result.stderr
    assert "going on after" in result.stderr
    assert hub.ranges() == [f"bytes={received}-"]
    assert not partials(puller.cache)
    unet_file = ModelRepository().resolve("sdxl-lightning-4step").unet_file
    assert unet_file is not None
    assert same_bytes(unet_file, published.lightning / FOUR_STEPS)


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    hub: HubStandIn, puller: Puller, published: Published
) -> None:
    hub.cuts[FOUR_STEPS] = [1_200_000, 1_100_000]
    puller.done("sdxl-lightning-4step")

    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in hub.ranges()]
    assert len(starts) == 2
    assert 0 < starts[0] <= 1_200_000 < starts[1] <= 2_300_000
    unet_file = ModelRepository().resolve("sdxl-lightning-4step").unet_file
    assert unet_file is not None
    assert same_bytes(unet_file, published.lightning / FOUR_STEPS)


def test_a_connection_that_breaks_for_ever_is_an_error_that_keeps_what_came(
    hub: HubStandIn, puller: Puller
) -> None:
    hub.cuts[FOUR_STEPS] = [1_200_000, 0, 0, 0]
    assert "cannot reach" in puller.refused("sdxl-lightning-4step")
    assert sum(file.stat().st_size for file in partials(puller.cache)) > 0

    hub.asked.clear()
    puller.done("sdxl-lightning-4step")
    assert len(hub.ranges()) == 1


@pytest.mark.parametrize("name", [FOUR_STEPS, "vocab.json"])
def test_wrong_bytes_are_thrown_away(hub: HubStandIn, puller: Puller, name: str) -> None:
    hub.corrupted.add(name)
    err = puller.refused("sdxl-lightning-4step")

    assert name in err
    assert "not the hub's" in err
    assert not partials(puller.cache)
    assert not any(name in str(path) for path in puller.cache.rglob("*"))
    with pytest.raises(ModelRepositoryError):
        ModelRepository().resolve("sdxl-lightning-4step")
    hub.corrupted.clear()
    puller.done("sdxl-lightning-4step")


def test_a_file_that_was_cut_short_in_the_cache_is_fetched_again(
    hub: HubStandIn, puller: Puller, published: Published
) -> None:
    puller.done("sdxl-lightning-4step")
    snapshot = ModelRepository().resolve("sdxl-lightning-4step").base_folder
    encoder = snapshot / "text_encoder/model.fp16.safetensors"
    os.truncate(encoder, 1000)
    (snapshot / "model_index.json").unlink()
    hub.asked.clear()
    puller.done("sdxl-lightning-4step")

    assert "text_encoder/model.fp16.safetensors" in hub.fetched()
    assert same_bytes(encoder, published.base / "text_encoder/model.fp16.safetensors")


def test_a_pull_that_ends_between_files_leaves_no_model(hub: HubStandIn, puller: Puller) -> None:
    hub.cuts["diffusion_pytorch_model.fp16.safetensors"] = [0, 0, 0]
    puller.refused("sdxl-base")

    with pytest.raises(ModelRepositoryError) as caught:
        ModelRepository().resolve("sdxl-base")
    assert BASE_REPO in str(caught.value)
    puller.done("sdxl-base")


def _entry(folder: Path, text: str) -> list[str]:
    folder.mkdir()
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    return [folder.name, "--model-repository", str(folder)]


def test_a_lora_an_all_in_one_file_and_shards_are_fetched_too(
    hub: HubStandIn, puller: Puller, published: Published, tmp_path: Path
) -> None:
    hub.add("someone/sharded", write_sharded(tmp_path / "sharded", published.plain))
    base = f"base: {{repo: {BASE_REPO}}}\nvariant: fp16\n"
    lora = "sdxl_lightning_4step_lora.safetensors"
    arguments = _entry(
        tmp_path / "with-lora",
        f"base: {{repo: someone/sharded}}\nlora: {{repo: {LIGHTNING_REPO}, file: {lora}}}\n",
    )
    assert "--model-repository" in puller.done(*arguments)
    model = ModelRepository([tmp_path / "with-lora"]).resolve("with-lora")
    assert model.loras
    assert same_bytes(model.loras[0].file, published.lightning / lora)
    assert len(model.unet_weight_files) > 1
    assert lora in hub.fetched()

    hub.asked.clear()
    whole = "sdxl_lightning_4step.safetensors"
    arguments = _entry(
        tmp_path / "whole", f"{base}single_file: {{repo: {LIGHTNING_REPO}, file: {whole}}}\n"
    )
    puller.done(*arguments)
    weights = [name for name in hub.fetched() if name.endswith(".safetensors")]
    assert weights == [whole], "of the base only configs and tokenizers are needed"
    assert ModelRepository([tmp_path / "whole"]).resolve("whole").single_file is not None


def test_a_pinned_commit_is_what_is_fetched(
    hub: HubStandIn, puller: Puller, published: Published, tmp_path: Path
) -> None:
    commit = hub.add(BASE_REPO, published.base)
    text = f"base: {{repo: {BASE_REPO}, revision: {commit}}}\nvariant: fp16\n"
    puller.done(*_entry(tmp_path / "pinned", text))

    model = ModelRepository([tmp_path / "pinned"]).resolve("pinned")
    assert model.base_folder.name == commit
    digest = hashlib.sha256((published.base / UNET_OF_BASE).read_bytes()).hexdigest()
    assert model.unet_weight_files[0].resolve().name == digest


@pytest.mark.parametrize(
    ("model_yaml", "said"),
    [
        ("base: {repo: nobody/nothing}", ["no repository nobody/nothing", "hf auth login"]),
        (f"base: {{repo: {BASE_REPO}, revision: v9}}", [BASE_REPO, "no revision 'v9'"]),
        (f"base: {{repo: {BASE_REPO}}}\nvariant: fp8", ["model.fp8.safetensors"]),
        (
            f"base: {{repo: {BASE_REPO}}}\nunet: {{repo: {LIGHTNING_REPO}, file: x.safetensors}}",
            [LIGHTNING_REPO, "has no x.safetensors"],
        ),
        ("base: {repo: gated/model}", ["gated/model is gated", "accept its terms", "HF_TOKEN"]),
    ],
)
def test_what_the_hub_has_not_is_named(
    hub: HubStandIn,
    puller: Puller,
    published: Published,
    tmp_path: Path,
    model_yaml: str,
    said: list[str],
) -> None:
    hub.add("gated/model", published.plain, gated=True)
    err = puller.refused(*_entry(tmp_path / "mine", model_yaml + "\n"))

    for text in [*said, "missing: "]:
        assert text in err


def test_a_hub_that_fails_or_is_not_there_says_what_to_do(
    hub: HubStandIn, puller: Puller, unused_port: int
) -> None:
    hub.status = 503
    assert "answered 503" in puller.refused("sdxl-base")

    puller.environment["HF_ENDPOINT"] = f"http://127.0.0.1:{unused_port}"
    err = puller.refused("sdxl-lightning-4step")
    for text in (f"cannot reach http://127.0.0.1:{unused_port}", "HF_ENDPOINT", str(puller.cache)):
        assert text in err
    for missing in (f"missing: {BASE_REPO} at main", f"missing: {LIGHTNING_REPO}/{FOUR_STEPS}"):
        assert missing in err

    puller.environment["HF_HUB_OFFLINE"] = "1"
    err = puller.refused("sdxl-base")
    assert "HF_HUB_OFFLINE is set" in err
    assert f"missing: {BASE_REPO} at main" in err


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as bound:  # bound, and not listening
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_models_without_the_hub_are_complete_or_say_what_lacks(
    puller: Puller, tmp_path: Path
) -> None:
    assert "is complete" in puller.done("leyden-tiny-base")
    assert "did you mean 'sdxl-turbo'" in puller.refused("sdxl-turb")
    err = puller.refused(*_entry(tmp_path / "local", "base: ../nowhere\n"))
    assert "nowhere/model_index.json" in err


def test_without_the_server_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_main, "entry_points", lambda *, group: ())
    assert main(["models", "pull", "sdxl-base", "--dry-run"]) == 1
    assert "the server is not installed" in capsys.readouterr().err


def test_the_shipped_entries_name_the_published_files() -> None:
    items: dict[str, Any] = ModelRepository().items
    for name, published in {**UNETS, **LORAS}.items():
        entry = items[name].entry
        (source,) = [entry.unet] if name in UNETS else entry.lora
        assert items[name].folder.parent == SHIPPED_MODELS
        assert (source.repo, source.file) == published
        assert (entry.base.repo, entry.variant) == (BASE_REPO, "fp16")
    assert items["sdxl-turbo"].entry.base.repo == "stabilityai/sdxl-turbo"
