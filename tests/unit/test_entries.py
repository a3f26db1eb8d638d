"""The shipped SDXL entries: their rules, and their pixels on checkpoints of the same layout."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from support.entry_checkpoints import (
    LIGHTNING_FILES,
    LORAS,
    UNETS,
    EntryCheckpoints,
    write_entry_checkpoints,
)
from support.model_folders import resolve
from support.pixels import assert_like_diffusers, request

from leyden.v1 import image_generation_service_pb2 as pb
from leyden_server.config import GatewayConfig
from leyden_server.errors import InvalidRequestError
from leyden_server.gateway.leyden_v1.decoding import VOCABULARY, generation_request
from leyden_server.generations.rules import validate
from leyden_server.model_repository import ModelRepository
from leyden_server.text_encoder.encoder import PromptEncoder

OVER_THE_BASE = ("sdxl-base", *UNETS, *LORAS)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> EntryCheckpoints:
    return write_entry_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def repository(checkpoints: EntryCheckpoints, monkeypatch: pytest.MonkeyPatch) -> ModelRepository:
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
    """Of solvers that go by one."""
    prediction_type: str = "epsilon"
    solvers: tuple[str, ...] = ("euler",)
    timesteps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    eta: float = 0.0


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
    "hyper-sd-1step": Rules((1, 1, 1), (0, 0, 0), "other", solvers=("lcm",), timesteps={1: (800,)}),
    **{
        f"hyper-sd-{steps}step": Rules(
            (steps, steps, steps),
            (0, 0, 0),
            "other",
            solvers=("tcd",),
            timesteps={steps: tuple(range(999, -1, -1000 // steps))},
        )
        for steps in (2, 4, 8)
    },
    "hyper-sd-unified": Rules((1, 1, 8), (0, 0, 0), "other", solvers=("tcd",), eta=1.0),
    "lcm-sdxl": Rules((4, 2, 8), (8, 1, 13), solvers=("lcm",)),
    "lcm-lora-sdxl": Rules((4, 2, 8), (0, 0, 2), solvers=("lcm",)),
    "sdxl-dmd2-4step": Rules(
        (4, 4, 4),
        (0, 0, 0),
        "cc-by-nc-4.0",
        solvers=("lcm",),
        timesteps={4: (999, 749, 499, 249)},
    ),
}


def test_every_shipped_sdxl_is_here() -> None:
    shipped = {name for name in ModelRepository().items if not name.startswith("leyden-tiny")}
    assert set(RULES) == shipped == {*OVER_THE_BASE, "sdxl-turbo"}


@pytest.mark.parametrize("name", RULES)
def test_the_rules_are_those_of_the_card(repository: ModelRepository, name: str) -> None:
    model = repository.resolve(name)

    config = model.scheduler_config
    assert RULES[name] == Rules(
        (model.steps.default, model.steps.min, model.steps.max),
        (model.default_guidance_scale, model.min_guidance_scale, model.max_guidance_scale),
        model.license,
        model.width_px,
        "trailing" if {*model.solvers} <= {"lcm", "tcd"} else config["timestep_spacing"],
        config["prediction_type"],
        model.solvers,
        model.timesteps,
        model.eta,
    )
    assert model.height_px == model.width_px
    assert model.preview is not None
    assert len(model.preview.factors) == model.latent_channels


def test_models_over_the_base_share_its_encoders_and_vae(repository: ModelRepository) -> None:
    models = [repository.resolve(name) for name in OVER_THE_BASE]
    turbo = repository.resolve("sdxl-turbo")

    assert len({model.text_encoder_key for model in models}) == 1
    assert len({model.vae_key for model in models}) == 1
    assert turbo.text_encoder_key != models[0].text_encoder_key


@pytest.mark.parametrize("name", UNETS)
def test_a_unet_is_the_published_file(
    repository: ModelRepository, checkpoints: EntryCheckpoints, name: str
) -> None:
    model = repository.resolve(name)

    assert model.unet_file == checkpoints.unets[name]
    assert model.time_cond_proj_dim == (256 if name == "lcm-sdxl" else None)
    assert model.loras == ()


@pytest.mark.parametrize("name", LORAS)
def test_a_lora_counts_whole_and_for_the_unet_alone(repository: ModelRepository, name: str) -> None:
    (lora,) = repository.resolve(name).loras

    assert (lora.file.name, lora.scale, lora.parts) == (LORAS[name][1], 1.0, ("unet",))


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
        ("hyper-sd-1step", {"num_inference_steps": 2}, "num_inference_steps"),
        ("hyper-sd-4step", {"num_inference_steps": 8}, "num_inference_steps"),
        ("hyper-sd-8step", {"guidance_scale": 1.0}, "guidance_scale"),
        ("hyper-sd-unified", {"num_inference_steps": 9}, "num_inference_steps"),
        ("lcm-sdxl", {"num_inference_steps": 1}, "num_inference_steps"),
        ("lcm-sdxl", {"guidance_scale": 0.0}, "guidance_scale"),
        ("lcm-lora-sdxl", {"guidance_scale": 2.5}, "guidance_scale"),
        ("lcm-lora-sdxl", {"solver": pb.SOLVER_EULER}, "solver"),
        ("sdxl-dmd2-4step", {"num_inference_steps": 5}, "num_inference_steps"),
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
        ("hyper-sd-2step", {"negative_prompt": "fog"}, "NEGATIVE_PROMPT_IGNORED"),
        ("lcm-sdxl", {"negative_prompt": "fog"}, "NEGATIVE_PROMPT_IGNORED"),
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
    repository: ModelRepository, checkpoints: EntryCheckpoints
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
    checkpoints: EntryCheckpoints,
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
    repository: ModelRepository, checkpoints: EntryCheckpoints, steps: int
) -> None:
    """As its card says: UNet from the base's config, trailing; one step predicts the sample."""
    name = f"sdxl-lightning-{steps}step"
    await assert_like_diffusers(
        repository.resolve(name),
        [request(5, steps, 0.0), request(6, steps, 2.0, negative_prompt="fog")],
        checkpoints.base,
        unet_file=checkpoints.unets[name],
        scheduler_overrides={
            "timestep_spacing": "trailing",
            "prediction_type": "sample" if steps == 1 else "epsilon",
        },
    )


async def test_turbo_gives_diffusers_pixels(
    repository: ModelRepository, checkpoints: EntryCheckpoints
) -> None:
    requests = [request(number, steps, 0.0) for number, steps in enumerate((1, 2, 3, 4))]
    await assert_like_diffusers(repository.resolve("sdxl-turbo"), requests, checkpoints.turbo)


BY_CARD: dict[str, dict[str, Any]] = {
    "hyper-sd-1step": {"scheduler_class": "LCMScheduler", "timesteps": [800]},
    **{
        f"hyper-sd-{steps}step": {
            "scheduler_class": "DDIMScheduler",
            "scheduler_overrides": {"timestep_spacing": "trailing"},
        }
        for steps in (2, 4, 8)
    },
    "hyper-sd-unified": {"scheduler_class": "TCDScheduler", "eta": 1.0},
    "lcm-lora-sdxl": {"scheduler_class": "LCMScheduler"},
    "sdxl-dmd2-4step": {"scheduler_class": "LCMScheduler", "timesteps": [999, 749, 499, 249]},
}
"""What each card has diffusers sample by; LCM-SDXL's needs a UNet of another config."""


@pytest.mark.parametrize("name", BY_CARD)
async def test_a_distilled_model_gives_the_pixels_of_its_cards_scheduler(
    repository: ModelRepository, checkpoints: EntryCheckpoints, name: str
) -> None:
    """Four side by side. Hyper-SD's DDIM is TCD without noise."""
    model = repository.resolve(name)
    least, most = model.steps.min, model.steps.max
    requests = [
        request(number, steps, 0.0) for number, steps in enumerate([model.steps.default, most] * 2)
    ]
    if model.max_guidance_scale:
        requests.append(request(9, least, model.max_guidance_scale, negative_prompt="fog"))
    await assert_like_diffusers(
        model, requests, checkpoints.base, unet_file=checkpoints.unets[name], **BY_CARD[name]
    )


async def test_lcm_sdxl_gives_diffusers_pixels(
    repository: ModelRepository, checkpoints: EntryCheckpoints
) -> None:
    await assert_like_diffusers(
        repository.resolve("lcm-sdxl"),
        [request(1, 4, 8.0), request(2, 2, 1.0), request(3, 8, 13.0)],
        checkpoints.lcm_sdxl,
        scheduler_class="LCMScheduler",
    )


def test_tokenizers_as_published_count_and_pad_alike(
    repository: ModelRepository, checkpoints: EntryCheckpoints
) -> None:
    options: Any = {"dtype": torch.float32, "device": torch.device("cpu"), "replica": ""}
    published = PromptEncoder(repository.resolve("sdxl-base"), **options)
    plain = PromptEncoder(resolve(checkpoints.base), **options)
    for prompt in ("", "ein Café in 京都 🎨", "lake " * 200):
        (one,), (other,) = published.encode([prompt]), plain.encode([prompt])
        assert (one.token_count, one.truncated) == (other.token_count, other.truncated)
        assert np.array_equal(one.prompt_embeds, other.prompt_embeds)
