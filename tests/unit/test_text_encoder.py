"""Prompts are encoded as diffusers' pipeline does, batched or not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from support.stages import write_model

from leyden_server.config import EncoderExecution
from leyden_server.errors import ConfigError
from leyden_server.model_repository import ResolvedModel
from leyden_server.text_encoder.encoder import PromptEncoder
from leyden_server.text_encoder.encoder_execution import EncoderExecutor

PROMPTS = [
    "a red mountain over a calm lake at dawn",
    "",
    "fog",
    "ein Café in 京都 🎨",
    "lake " * 200,
]
TOLERANCE = 1e-5


def load_encoder(
    model: ResolvedModel,
    *,
    execution: EncoderExecution = "auto",
    device: torch.device = torch.device("cpu"),  # noqa: B008 - a constant
) -> PromptEncoder:
    return PromptEncoder(
        model,
        dtype=torch.float32,
        device=device,
        replica="text_encoder#1",
        execution=execution,
    )


def load_pipeline(folder: Path) -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def encoder(random_model: ResolvedModel) -> PromptEncoder:
    return load_encoder(random_model)


@pytest.fixture(scope="module")
def pipeline(random_model: ResolvedModel) -> Any:
    return load_pipeline(random_model.base_folder)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt[:10])
def test_it_is_what_the_pipeline_encodes(
    encoder: PromptEncoder, pipeline: Any, prompt: str
) -> None:
    (encoded,) = encoder.encode([prompt])
    with torch.inference_mode():
        expected, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)

    assert encoded.prompt_embeds.dtype == encoded.pooled_prompt_embeds.dtype == np.float32
    assert encoded.prompt_embeds.shape == expected[0].shape == (77, 80)
    np.testing.assert_allclose(encoded.prompt_embeds, expected[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(encoded.pooled_prompt_embeds, pooled[0], rtol=0, atol=TOLERANCE)


def test_the_shipped_model_is_encoded_alike(base: ResolvedModel) -> None:
    (encoded,) = load_encoder(base).encode([PROMPTS[0]])
    with torch.inference_mode():
        expected, _, pooled, _ = load_pipeline(base.base_folder).encode_prompt(
            PROMPTS[0], do_classifier_free_guidance=False
        )
    np.testing.assert_allclose(encoded.prompt_embeds, expected[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(encoded.pooled_prompt_embeds, pooled[0], rtol=0, atol=TOLERANCE)


def test_a_batch_is_what_each_is_alone(encoder: PromptEncoder) -> None:
    together = encoder.encode(PROMPTS)
    for prompt, shared in zip(PROMPTS, together, strict=True):
        (alone,) = encoder.encode([prompt])
        np.testing.assert_allclose(
            shared.prompt_embeds, alone.prompt_embeds, rtol=0, atol=TOLERANCE
        )
        np.testing.assert_allclose(
            shared.pooled_prompt_embeds, alone.pooled_prompt_embeds, rtol=0, atol=TOLERANCE
        )
        assert (shared.token_count, shared.truncated) == (alone.token_count, alone.truncated)
    assert np.abs(together[0].prompt_embeds - together[2].prompt_embeds).max() > 0.1


@pytest.mark.parametrize("threads", [1, 2])
def test_who_came_at_the_same_time_changes_no_bit(lightning: ResolvedModel, threads: int) -> None:
    """Or a kept prompt would make another image than one that is encoded anew."""
    encoder = load_encoder(lightning)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (alone,) = encoder.encode(PROMPTS[:1])
        for count in (2, 3, 5):
            shared = encoder.encode(PROMPTS[:count])[0]
            assert np.array_equal(shared.prompt_embeds, alone.prompt_embeds)
            assert np.array_equal(shared.pooled_prompt_embeds, alone.pooled_prompt_embeds)
    finally:
        torch.set_num_threads(before)


def test_a_cached_prompt_does_not_hold_its_whole_batch(encoder: PromptEncoder) -> None:
    for encoded in encoder.encode(PROMPTS):
        for array in (encoded.prompt_embeds, encoded.pooled_prompt_embeds):
            owner = array if array.base is None else array.base
            assert isinstance(owner, np.ndarray)
            assert owner.nbytes == array.nbytes


def test_tokens_are_counted_before_the_cut(encoder: PromptEncoder, pipeline: Any) -> None:
    def count(prompt: str) -> int:
        tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
        return max(len(tokenizer(prompt).input_ids) for tokenizer in tokenizers)

    one = count("a") - count("")
    assert (count(""), one) == (2, 1)
    words = {75: (77, False), 76: (78, True), 200: (202, True), 1: (3, False), 0: (2, False)}
    for number, (tokens, truncated) in words.items():
        (encoded,) = encoder.encode([" ".join(["a"] * number)])
        assert (encoded.token_count, encoded.truncated) == (tokens, truncated), number
    assert [encoded.token_count for encoded in encoder.encode(PROMPTS)] == list(map(count, PROMPTS))


def test_what_goes_past_the_limit_changes_nothing(encoder: PromptEncoder) -> None:
    kept = " ".join(["a"] * 75)
    (full,), (cut,) = encoder.encode([kept]), encoder.encode([kept + " red mountain"])

    assert np.array_equal(full.prompt_embeds, cut.prompt_embeds)
    assert cut.truncated
    assert not full.truncated


def test_zeroed_is_zeros_of_the_same_shape(encoder: PromptEncoder) -> None:
    (encoded,) = encoder.encode(["fog"])
    zeros = encoded.zeroed()

    assert zeros.prompt_embeds.shape == encoded.prompt_embeds.shape
    assert not zeros.prompt_embeds.any()
    assert not zeros.pooled_prompt_embeds.any()
    assert encoded.prompt_embeds.any()


def test_float16_weights_are_loaded_in_the_asked_precision(
    tmp_path: Path, encoder: PromptEncoder
) -> None:
    model = write_model(tmp_path / "half", "", dtype=torch.float16)
    (half,), (full,) = load_encoder(model).encode(["fog"]), encoder.encode(["fog"])

    assert half.prompt_embeds.dtype == np.float32
    np.testing.assert_allclose(half.prompt_embeds, full.prompt_embeds, rtol=0, atol=0.05)


def test_graphs_on_a_cpu_are_refused(random_model: ResolvedModel) -> None:
    message = r"text_encoder\.encoder_execution: cuda_graphs needs a CUDA device.* on cpu; auto"
    with pytest.raises(ConfigError, match=message):
        load_encoder(random_model, execution="cuda_graphs")


@pytest.mark.parametrize(("rows", "padded"), [(1, 1), (2, 2), (3, 4), (5, None)])
def test_prompts_are_padded_to_a_number_that_is_captured(rows: int, padded: int | None) -> None:
    seen: list[int] = []

    def text_encoder(ids: torch.Tensor, *, output_hidden_states: bool) -> SimpleNamespace:
        assert output_hidden_states
        hidden_states = (ids[..., None].float(), ids[..., None].float())
        return SimpleNamespace(hidden_states=hidden_states, text_embeds=ids[:, :1].float())

    executor = EncoderExecutor([text_encoder, text_encoder], torch.device("cpu"), "eager")

    def captured(*ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(len(ids[0]))
        return executor._run(*ids)

    # In the place of graphs, which a CPU has not.
    executor._captured = dict.fromkeys((1, 2, 4), captured)
    ids = torch.arange(rows * 77).view(rows, 77)
    prompt_embeds, pooled = executor([ids, ids])
    assert seen == ([] if padded is None else [padded])
    assert torch.equal(prompt_embeds, ids[..., None].float().repeat(1, 1, 2))
    assert torch.equal(pooled, ids[:, :1].float())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_captured_encoders_encode_as_eager_ones(random_model: ResolvedModel) -> None:
    captured, eager = (
        load_encoder(random_model, execution=execution, device=torch.device("cuda"))
        for execution in ("cuda_graphs", "eager")
    )
    captured.warm_up(4)
    # Padded to two, and four; five are more than was prepared.
    for number in (1, 2, 3, 5):
        results = captured.encode(PROMPTS[:number]), eager.encode(PROMPTS[:number])
        for found, expected in zip(*results, strict=True):
            assert found.token_count == expected.token_count
            np.testing.assert_allclose(found.prompt_embeds, expected.prompt_embeds, atol=1e-3)
            np.testing.assert_allclose(
                found.pooled_prompt_embeds, expected.pooled_prompt_embeds, atol=1e-3
            )
