"""The shipped SDXL entries: their rules, and their pixels on checkpoints of the same layout.

The weights are random and tiny; names, formats and folders are the published ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from support.checkpoint_files import write_tokenizers_as_published, write_variant
from support.model_folders import resolve, rewrite_json
from support.pixels import assert_like_diffusers, request
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.stages import TOKENIZER_FROM

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import InvalidRequestError
from leyden_server.gateway.leyden_v1.decoding import VOCABULARY, generation_request
from leyden_server.generations.rules import validate
from leyden_server.model_repository import ModelRepository
from leyden_server.text_encoder.encoder import PromptEncoder

LIGHTNING_FILES = {
    1: "sdxl_lightning_1step_unet_x0.safetensors",
    2: "sdxl_lightning_2step_unet.safetensors",
    4: "sdxl_lightning_4step_unet.safetensors",
    8: "sdxl_lightning_8step_unet.safetensors",
}
LIGHTNING = tuple(f"sdxl-lightning-{steps}step" for steps in LIGHTNING_FILES)
ALL = ("sdxl-base", "sdxl-turbo", *LIGHTNING)


@dataclass(frozen=True)
class Checkpoints:
    """What stock diffusers loads, and the hub cache that holds the same weights."""

    cache: Path
    base: Path
    turbo: Path
    unets: Mapping[int, Path]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    root = tmp_path_factory.mktemp("checkpoints")
    # Half precision, as the fp16 variants are; SDXL base's scheduler has leading spacing.
    base = write_random_sdxl(
        root / "base",
        tokenizer_from=TOKENIZER_FROM,
        seed=11,
        dtype=torch.float16,
        scheduler_overrides={"timestep_spacing": "leading"},
    )
    turbo = write_random_sdxl(
        root / "turbo",
        tokenizer_from=TOKENIZER_FROM,
        seed=12,
        dtype=torch.float16,
        scheduler_class="EulerAncestralDiscreteScheduler",
    )
    for folder, sample_size in ((base, 128), (turbo, 64)):
        rewrite_json(folder / "unet" / "config.json", sample_size=sample_size)
    cache = root / "hub"
    for repo, folder in (("stable-diffusion-xl-base-1.0", base), ("sdxl-turbo", turbo)):
        snapshot = _snapshot(cache, f"stabilityai--{repo}")
        write_variant(snapshot, folder, "fp16", torch.float16)
        write_tokenizers_as_published(snapshot)
    snapshot = _snapshot(cache, "ByteDance--SDXL-Lightning")
    snapshot.mkdir()
    unets = {
        steps: write_random_unet_file(snapshot / name, model_dir=base, seed=steps)
        for steps, name in LIGHTNING_FILES.items()
    }
    return Checkpoints(cache, base, turbo, unets)


def _snapshot(cache: Path, repo: str) -> Path:
    commit = "0123456789abcdef0123456789abcdef01234567"
    (cache / f"models--{repo}" / "refs").mkdir(parents=True)
    (cache / f"models--{repo}" / "refs" / "main").write_text(commit, encoding="utf-8")
    (cache / f"models--{repo}" / "snapshots").mkdir()
    return cache / f"models--{repo}" / "snapshots" / commit


@pytest.fixture
def repository(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> ModelRepository:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(checkpoints.cache))
    return ModelRepository()


@dataclass(frozen=True)
class Rules:
    """What the models' cards say."""

    steps: tuple[int, int, int]
    """Default, least, most."""
    guidance: tuple[float, float, float]
    license: str = "openrail++"
    native_px: int = 1024
    spacing: str = "trailing"
    prediction_type: str = "epsilon"
    solvers: tuple[str, ...] = ("euler",)


RULES = {
    "sdxl-base": Rules(
        (50, 1, 100),
        (7, 0, 20),
        spacing="leading",
        solvers=("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde"),
    ),
    "sdxl-turbo": Rules(
        (1, 1, 4), (0, 0, 0), "sai-nc-community", 512, solvers=("euler_ancestral",)
    ),
    "sdxl-lightning-1step": Rules((1, 1, 1), (0, 0, 2), prediction_type="sample"),
    "sdxl-lightning-2step": Rules((2, 2, 2), (0, 0, 2)),
    "sdxl-lightning-4step": Rules((4, 4, 4), (0, 0, 2)),
    "sdxl-lightning-8step": Rules((8, 8, 8), (0, 0, 2)),
}


@pytest.mark.parametrize("name", ALL)
def test_the_rules_are_those_of_the_card(repository: ModelRepository, name: str) -> None:
    model = repository.resolve(name)

    config = model.scheduler_config
    assert RULES[name] == Rules(
        (model.steps.default, model.steps.min, model.steps.max),
        (model.default_guidance_scale, model.min_guidance_scale, model.max_guidance_scale),
        model.license,
        model.width_px,
        config["timestep_spacing"],
        config["prediction_type"],
        model.solvers,
    )
    assert model.height_px == model.width_px
    assert model.preview is not None
    assert len(model.preview.factors) == model.latent_channels


def test_the_lightning_models_share_the_bases_encoders_and_vae(
    repository: ModelRepository, checkpoints: Checkpoints
) -> None:
    keys = {repository.resolve(name).text_encoder_key for name in ("sdxl-base", *LIGHTNING)}
    assert len(keys) == 1
    assert repository.resolve("sdxl-turbo").text_encoder_key not in keys
    for steps, file in checkpoints.unets.items():
        assert repository.resolve(f"sdxl-lightning-{steps}step").unet_file == file


@pytest.mark.parametrize(
    ("name", "fields", "wrong"),
    [
        ("sdxl-lightning-4step", {"num_inference_steps": 5}, "num_inference_steps"),
        ("sdxl-lightning-1step", {"num_inference_steps": 2}, "num_inference_steps"),
        ("sdxl-lightning-8step", {"guidance_scale": 2.5}, "guidance_scale"),
        ("sdxl-turbo", {"guidance_scale": 1.0}, "guidance_scale"),
        ("sdxl-turbo", {"num_inference_steps": 5}, "num_inference_steps"),
        ("sdxl-turbo", {"solver": pb.SOLVER_EULER}, "solver"),
        ("sdxl-base", {"num_inference_steps": 101}, "num_inference_steps"),
        ("sdxl-base", {"guidance_scale": 20.5}, "guidance_scale"),
    ],
)
def test_what_the_card_forbids_is_refused(
    repository: ModelRepository, name: str, fields: dict[str, Any], wrong: str
) -> None:
    message = pb.GenerateImageRequest(prompt="a lake", request_id="r", **fields)
    with pytest.raises(InvalidRequestError) as caught:
        validate(generation_request(message), repository.resolve(name), GatewayConfig(), VOCABULARY)
    assert [violation.field for violation in caught.value.violations] == [wrong]


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("sdxl-turbo", {"negative_prompt": "fog"}, "NEGATIVE_PROMPT_IGNORED"),
        ("sdxl-base", {"num_inference_steps": 19}, "STEPS_OUTSIDE_RECOMMENDED"),
        ("sdxl-base", {"num_inference_steps": 51}, "STEPS_OUTSIDE_RECOMMENDED"),
    ],
)
def test_what_the_card_advises_against_is_warned_of(
    repository: ModelRepository, name: str, fields: dict[str, Any], reason: str
) -> None:
    message = pb.GenerateImageRequest(prompt="a lake", request_id="r", **fields)
    parameters = validate(
        generation_request(message), repository.resolve(name), GatewayConfig(), VOCABULARY
    )

    assert [warning.reason for warning in parameters.warnings] == [reason]
    assert parameters.negative_prompt == ""


async def test_the_base_gives_diffusers_pixels(
    repository: ModelRepository, checkpoints: Checkpoints
) -> None:
    requests = [
        request(1, 20, 7.0, negative_prompt="fog"),
        request(2, 8, 0.0),
        request(3, 1, 7.0),
    ]
    await assert_like_diffusers(repository.resolve("sdxl-base"), requests, checkpoints.base)


@pytest.mark.parametrize(
    ("solver", "scheduler_class", "overrides"),
    [
        ("euler_ancestral", "EulerAncestralDiscreteScheduler", {}),
        ("dpmpp_2m", "DPMSolverMultistepScheduler", {}),
        (
            "dpmpp_2m_sde",
            "DPMSolverMultistepScheduler",
            {"algorithm_type": "sde-dpmsolver++"},
        ),
    ],
)
async def test_the_base_steps_by_other_solvers_too(
    repository: ModelRepository,
    checkpoints: Checkpoints,
    solver: str,
    scheduler_class: str,
    overrides: dict[str, str],
) -> None:
    await assert_like_diffusers(
        repository.resolve("sdxl-base"),
        [request(4, 8, 5.0, solver=solver)],
        checkpoints.base,
        scheduler_class=scheduler_class,
        scheduler_overrides=overrides,
    )


@pytest.mark.parametrize("steps", LIGHTNING_FILES)
async def test_lightning_gives_diffusers_pixels(
    repository: ModelRepository, checkpoints: Checkpoints, steps: int
) -> None:
    """As its card says: UNet from the base's config, trailing; one step predicts the sample."""
    await assert_like_diffusers(
        repository.resolve(f"sdxl-lightning-{steps}step"),
        [request(5, steps, 0.0), request(6, steps, 2.0, negative_prompt="fog")],
        checkpoints.base,
        unet_file=checkpoints.unets[steps],
        scheduler_overrides={
            "timestep_spacing": "trailing",
            "prediction_type": "sample" if steps == 1 else "epsilon",
        },
    )


async def test_turbo_gives_diffusers_pixels(
    repository: ModelRepository, checkpoints: Checkpoints
) -> None:
    requests = [request(number, steps, 0.0) for number, steps in enumerate((1, 2, 3, 4))]
    await assert_like_diffusers(repository.resolve("sdxl-turbo"), requests, checkpoints.turbo)


def test_tokenizers_as_published_count_and_pad_alike(
    repository: ModelRepository, checkpoints: Checkpoints
) -> None:
    options: Any = {"dtype": torch.float32, "device": torch.device("cpu"), "replica": ""}
    published = PromptEncoder(repository.resolve("sdxl-base"), **options)
    plain = PromptEncoder(resolve(checkpoints.base), **options)
    for prompt in ("", "ein Café in 京都 🎨", "lake " * 200):
        (one,), (other,) = published.encode([prompt]), plain.encode([prompt])
        assert (one.token_count, one.truncated) == (other.token_count, other.truncated)
        assert np.array_equal(one.prompt_embeds, other.prompt_embeds)
