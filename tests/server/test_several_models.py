"""Four models of one base in one server: encoders and VAE are there once, UNets side by side.

As a process of its own: one process's Ray holds one server, and another test's may be running.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli.conftest import running
from diffusers import StableDiffusionXLPipeline
from support.checkpoint_files import write_random_lora
from support.patience import PATIENCE_S
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.reference import max_difference, reference_images
from support.running_server import Reply, request

from leyden.v1 import image_generation_service_pb2_grpc as pb_grpc
from leyden.v1 import model_service_pb2 as model_pb
from leyden.v1 import model_service_pb2_grpc as model_grpc
from leyden_server.config import ServerConfig
from leyden_server.controller.models import build_catalog
from leyden_server.controller.names import Names
from leyden_server.model_repository import ModelRepository
from leyden_server.model_repository.repository import SHIPPED_MODELS

FOUR_STEPS = "sdxl_lightning_4step_unet.safetensors"
ONE_STEP = "sdxl_lightning_1step_unet_x0.safetensors"
LORA = "sdxl_lightning_8step_lora.safetensors"
TRAILING = "noise_schedule: {timestep_spacing: trailing, prediction_type: %s}\n"
ENTRIES = {
    "many-steps": "base: ../base\n",
    "four-steps": f"base: ../base\nunet: ../{FOUR_STEPS}\n{TRAILING % 'epsilon'}"
    "num_inference_steps: {default: 4, min: 4, max: 4}\n",
    "one-step": f"base: ../base\nunet: ../{ONE_STEP}\n{TRAILING % 'sample'}"
    "num_inference_steps: {default: 1, min: 1, max: 1}\n",
    "with-lora": f"base: ../base\nlora: {{path: ../{LORA}, scale: 0.8}}\n{TRAILING % 'epsilon'}",
}
STEPS = {"many-steps": 8, "four-steps": 4, "one-step": 1, "with-lora": 8}
CONFIG = """
models: [many-steps, four-steps, one-step, with-lora]
model_repository: [models]
gateway: {port: 0, drain_timeout_s: 0.5}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and the models that it names."""
    home = tmp_path_factory.mktemp("several")
    models = home / "models"
    base = write_random_sdxl(
        models / "base",
        tokenizer_from=SHIPPED_MODELS / "leyden-tiny-base",
        seed=21,
        scheduler_overrides={"timestep_spacing": "leading"},
    )
    write_random_unet_file(models / FOUR_STEPS, model_dir=base, seed=22)
    write_random_unet_file(models / ONE_STEP, model_dir=base, seed=23)
    write_random_lora(models / LORA, model_dir=base, seed=24)
    for name, text in ENTRIES.items():
        (models / name).mkdir()
        (models / name / "model.yaml").write_text(text, encoding="utf-8")
    (home / "leyden.yaml").write_text(CONFIG, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def channel(home: Path) -> Iterator[grpc.Channel]:
    with running(["serve", "--config", "leyden.yaml"], home) as server:
        ready = server.stdout_line()
        assert ready.startswith("ready: grpc "), server.stderr
        with grpc.insecure_channel(ready.removeprefix("ready: grpc ")) as channel:
            yield channel


def generate(channel: grpc.Channel, **fields: Any) -> Reply:
    images: Any = pb_grpc.ImageGenerationServiceStub(channel)
    reply = Reply([])
    for event in images.GenerateImage(request(**fields), timeout=PATIENCE_S):
        reply.events.append(event)
        reply.received_s.append(time.monotonic())
    return reply


def test_the_four_need_one_encoder_and_one_decoder(home: Path) -> None:
    config = ServerConfig().replace(models=list(ENTRIES), model_repository=[home / "models"])
    catalog = build_catalog(config.models, ModelRepository(config.model_repository))
    models = [entry.model for entry in catalog if entry.is_served and entry.model is not None]
    names = Names("leyden")

    assert len(models) == 4
    assert len({names.text_encoder(model.text_encoder_key) for model in models}) == 1
    assert len({names.vae(model.vae_key) for model in models}) == 1
    assert len({names.denoiser(model.name) for model in models}) == 4


def test_replicas_of_encoder_and_decoder_are_shared(channel: grpc.Channel) -> None:
    summaries = [generate(channel, model=name).summary for name in ENTRIES]

    bills = [summary.bill for summary in summaries]
    assert len({bill.text_encoder_replica for bill in bills}) == 1
    assert len({bill.images[0].image_decoder_replica for bill in bills}) == 1
    denoisers = [bill.images[0].denoiser_replica.partition("#")[0] for bill in bills]
    assert denoisers == [f"leyden-denoiser-{name}" for name in ENTRIES]
    assert len({summary.model_revision for summary in summaries}) == 4


def test_what_is_not_loaded_says_how_to_get_it(channel: grpc.Channel) -> None:
    models = model_grpc.ModelServiceStub(channel)
    listed = {m.name: m for m in models.ListModels(model_pb.ListModelsRequest()).models}

    assert {name for name, m in listed.items() if m.state == model_pb.MODEL_STATE_READY} == {
        *ENTRIES
    }
    turbo = listed["sdxl-turbo"]
    assert turbo.state == model_pb.MODEL_STATE_UNAVAILABLE
    assert turbo.license == "sai-nc-community"
    assert "stabilityai/sdxl-turbo" in turbo.unavailable_reason
    assert "leyden models pull sdxl-turbo" in turbo.unavailable_reason
    # The base's folder has no entry of its own; it is a model, and not loaded.
    assert "--model base" in listed["base"].unavailable_reason


def test_each_gives_the_pixels_of_diffusers(
    channel: grpc.Channel, home: Path, tmp_path: Path
) -> None:
    models = home / "models"
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        models / "base", use_safetensors=True, add_watermarker=False
    )
    pipeline.load_lora_weights(str(models / LORA))
    pipeline.fuse_lora(lora_scale=0.8)
    pipeline.unload_lora_weights()
    pipeline.save_pretrained(tmp_path / "fused")
    trailing = {"timestep_spacing": "trailing"}
    references: dict[str, dict[str, Any]] = {
        "many-steps": {},
        "four-steps": {"unet_file": models / FOUR_STEPS, "scheduler_overrides": trailing},
        "one-step": {
            "unet_file": models / ONE_STEP,
            "scheduler_overrides": {**trailing, "prediction_type": "sample"},
        },
        "with-lora": {"scheduler_overrides": trailing},
    }
    for name, options in references.items():
        fields: dict[str, Any] = {
            "prompt": "dunes at noon",
            "seed": 3,
            "num_inference_steps": STEPS[name],
        }
        pixels = generate(channel, model=name, guidance_scale=0.0, **fields).pixels()
        folder = tmp_path / "fused" if name == "with-lora" else models / "base"
        (expected,) = reference_images(
            folder, width=64, height=64, guidance_scale=0.0, **fields, **options
        )
        assert expected.std() > 10
        assert max_difference(pixels, expected) <= 1, name


def test_requests_to_different_unets_run_side_by_side(channel: grpc.Channel) -> None:
    """Each sees progress before the other ends; behind each other, one would see none."""
    replies: dict[str, Reply] = {}
    together = threading.Barrier(2)

    def run(name: str) -> None:
        together.wait()
        replies[name] = generate(channel, model=name, num_inference_steps=100, image_count=8)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("many-steps", "with-lora")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = []
    for reply in replies.values():
        kinds = [event.WhichOneof("event") for event in reply.events]
        times = [
            at
            for at, kind in zip(reply.received_s, kinds, strict=True)
            if kind == "denoise_progress"
        ]
        assert len(times) == 800
        spans.append((times[0], times[-1]))
    (first, last), (other_first, other_last) = spans
    assert first < other_last
    assert other_first < last
