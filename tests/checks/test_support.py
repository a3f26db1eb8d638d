"""The folders and the reference that pixels are compared with are fit for it."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from support.random_sdxl import write_random_sdxl, write_random_unet_file
from support.reference import Image, max_difference, reference_images

MODELS = Path(__file__).resolve().parents[2] / "server" / "leyden_server" / "models"
TOKENIZER_FROM = MODELS / "leyden-tiny-base"
REQUEST: dict[str, Any] = {
    "prompt": "a red mountain at dawn",
    "seed": 7,
    "width": 64,
    "height": 64,
    "num_inference_steps": 4,
    "guidance_scale": 0.0,
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random_sdxl")
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM)


def assert_worth_comparing(image: Image) -> None:
    assert image.std() > 10
    assert np.isin(image, (0, 255)).mean() < 0.05


def test_every_part_of_a_request_changes_the_image(model_dir: Path, tmp_path: Path) -> None:
    unet_file = write_random_unet_file(tmp_path / "unet.safetensors", model_dir=model_dir, seed=1)
    changes: list[dict[str, Any]] = [
        {},
        {"prompt": "a red mountain at dusk"},
        {"seed": 8},
        {"num_inference_steps": 5},
        {"guidance_scale": 2.0},
        {"guidance_scale": 2.0, "negative_prompt": "fog"},
        {"unet_file": unet_file},
        {"scheduler_class": "EulerAncestralDiscreteScheduler"},
        {"scheduler_overrides": {"timestep_spacing": "leading"}},
        {"scheduler_overrides": {"prediction_type": "v_prediction"}},
        {"scheduler_overrides": {"prediction_type": "sample"}},
    ]

    images = [reference_images(model_dir, **{**REQUEST, **change})[0] for change in changes]

    for image in images:
        assert_worth_comparing(image)
    for (a, b), pair in zip(combinations(images, 2), combinations(changes, 2), strict=True):
        assert max_difference(a, b) >= 5, pair


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1, "scheduler_overrides": {"prediction_type": "v_prediction"}},
        {"seed": 2, "scheduler_class": "EulerAncestralDiscreteScheduler"},
        {"seed": 3, "mid_block_add_attention": False, "force_zeros_for_empty_prompt": False},
        {"seed": 4, "block_out_channels": (32, 64, 64), "transformer_layers_per_block": (1, 1, 2)},
        {"seed": 5, "dtype": torch.float16, "scaling_factor": 0.18215},
        {"seed": 6, "vae_block_out_channels": (8, 16), "sample_size": 32},
    ],
    ids=str,
)
def test_folders_of_every_shape_give_images(options: dict[str, Any], tmp_path: Path) -> None:
    write_random_sdxl(tmp_path, tokenizer_from=TOKENIZER_FROM, **options)

    (image,) = reference_images(tmp_path, **{**REQUEST, "width": 96, "guidance_scale": 2.0})

    assert image.shape == (64, 96, 3)
    assert_worth_comparing(image)


def test_image_i_is_the_image_of_seed_plus_i(model_dir: Path) -> None:
    together = reference_images(model_dir, **REQUEST, image_count=3)

    for i, image in enumerate(together):
        (alone,) = reference_images(model_dir, **{**REQUEST, "seed": REQUEST["seed"] + i})
        assert max_difference(image, alone) <= 1


def test_overrides_do_not_stay_with_a_cached_pipeline(model_dir: Path) -> None:
    (before,) = reference_images(model_dir, **REQUEST)
    reference_images(model_dir, **REQUEST, scheduler_overrides={"prediction_type": "sample"})

    (after,) = reference_images(model_dir, **REQUEST)

    assert max_difference(before, after) == 0


def test_the_seed_decides_every_weight_and_leaves_the_global_generator_alone(
    model_dir: Path, tmp_path: Path
) -> None:
    state = torch.random.get_rng_state()
    same = write_random_sdxl(tmp_path / "same", tokenizer_from=TOKENIZER_FROM)
    other = write_random_sdxl(tmp_path / "other", tokenizer_from=TOKENIZER_FROM, seed=1)

    assert torch.equal(state, torch.random.get_rng_state())
    (image,) = reference_images(model_dir, **REQUEST)
    assert max_difference(image, reference_images(same, **REQUEST)[0]) <= 1
    assert max_difference(image, reference_images(other, **REQUEST)[0]) > 50


def test_configs_agree_with_the_tokenizers(model_dir: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(model_dir, use_safetensors=True)

    assert not list(model_dir.rglob("*.bin"))
    assert pipeline.vae_scale_factor == 8
    assert pipeline.default_sample_size * pipeline.vae_scale_factor == 64
    for tokenizer, text_encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        assert tokenizer.model_max_length == text_encoder.config.max_position_embeddings == 77
        assert len(tokenizer) == text_encoder.config.vocab_size
        assert tokenizer.eos_token_id == text_encoder.config.eos_token_id


def test_max_difference_does_not_wrap_around() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)

    assert max_difference(black, white) == max_difference(white, black) == 255
    assert max_difference(black, black) == 0
    with pytest.raises(ValueError, match="shapes differ"):
        max_difference(black, white[:1])
