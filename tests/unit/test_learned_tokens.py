"""A textual inversion is read as diffusers reads it, by both text encoders."""

import shutil
from pathlib import Path

import pytest
import safetensors.torch as st
import torch
from diffusers import StableDiffusionXLPipeline
from support.model_folders import entry, resolve, rewrite_json
from support.pixels import assert_like_diffusers, request
from support.random_sdxl import write_random_sdxl
from support.stages import TOKENIZER_FROM

from leyden_server.errors import ModelRepositoryError
from leyden_server.text_encoder.encoder import PromptEncoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens") / "base"
    return write_random_sdxl(folder, tokenizer_from=TOKENIZER_FROM, seed=5)


def write_embedding(file: Path, vectors: int, seed: int, scale: float = 1.0) -> Path:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "clip_l": torch.randn(vectors, 32, generator=generator) * scale,
        "clip_g": torch.randn(vectors, 48, generator=generator) * scale,
    }
    st.save_file(tensors, file)
    return file


def by_diffusers(target: Path, base: Path, files: dict[str, Path]) -> Path:
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        base, dtype=torch.float32, use_safetensors=True, add_watermarker=False
    )
    for token, file in files.items():
        vectors = st.load_file(file)
        for name, encoder, tokenizer in (
            ("clip_l", pipeline.text_encoder, pipeline.tokenizer),
            ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2),
        ):
            pipeline.load_textual_inversion(
                vectors[name], token=token, text_encoder=encoder, tokenizer=tokenizer
            )
    pipeline.save_pretrained(target)
    return target


async def test_pixels_are_diffusers(base: Path, tmp_path: Path) -> None:
    files = {
        "<one>": write_embedding(tmp_path / "one.safetensors", 1, 1),
        "<many>": write_embedding(tmp_path / "many.safetensors", 3, 2),
    }
    expected = by_diffusers(tmp_path / "expected", base, files)
    listed = "".join(f"  - {{path: {file}, token: {token}}}\n" for token, file in files.items())
    model = resolve(entry(tmp_path / "model", f"base: {base}\nembeddings:\n{listed}"))
    plain = resolve(base)
    assert model.text_encoder_key != plain.text_encoder_key
    assert model.vae_key.startswith(plain.vae_key.split("|")[0])

    prompts = [
        "a red mountain in the style of <one>",
        "<many> over a lake, <one>",
        "a lake by <many>, fog and <many>",
        "a lake at dawn",
    ]
    requests = [
        request(number, 3, 2.0 if number % 2 else 0.0, prompt=prompts[number % 4])
        for number in range(8)
    ]
    await assert_like_diffusers(model, requests[:1], expected)
    await assert_like_diffusers(model, requests, expected)


async def test_the_pooled_output_is_taken_at_the_end(base: Path, tmp_path: Path) -> None:
    """As published, both configs say that token 2 is the end.

    diffusers then pools at the learned token, whose number is the highest, so the reference here
    is diffusers with the end's true number.
    """
    published = Path(shutil.copytree(base, tmp_path / "published"))
    for part in ("text_encoder", "text_encoder_2"):
        rewrite_json(published / part / "config.json", eos_token_id=2)
    files = {"<one>": write_embedding(tmp_path / "one.safetensors", 1, 1)}
    text = f"base: ../published\nembeddings: [{{path: {files['<one>']}, token: <one>}}]\n"
    model = resolve(entry(tmp_path / "model", text))
    asked = [request(1, 3, 0.0, prompt="<one> on a mountain")]

    await assert_like_diffusers(model, asked, by_diffusers(tmp_path / "right", base, files))
    wrong = by_diffusers(tmp_path / "wrong", published, files)
    with pytest.raises(AssertionError):
        await assert_like_diffusers(model, asked, wrong)


def test_its_vectors_count_as_tokens(base: Path, tmp_path: Path) -> None:
    file = write_embedding(tmp_path / "many.safetensors", 3, 2)
    text = f"base: {base}\nembeddings: [{{path: {file}, token: <many>}}]\n"
    encoders = [
        PromptEncoder(resolve(folder), dtype=torch.float32, device=CPU, replica="")
        for folder in (base, entry(tmp_path / "model", text))
    ]
    plain, learned = (encoder.encode(["a lake"])[0].token_count for encoder in encoders)
    assert plain == learned
    assert encoders[1].encode(["a <many> lake"])[0].token_count == plain + 3


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            {"clip_l": torch.ones(2, 40), "clip_g": torch.ones(2, 48)},
            "clip_l: F32 of shape [2, 40]",
        ),
        (
            {"clip_l": torch.ones(2, 32), "clip_g": torch.ones(1, 48)},
            "clip_g: F32 of shape [1, 48]",
        ),
        ({"clip_l": torch.ones(2, 32)}, "SDXL reads one for each text encoder"),
        ({"emb_params": torch.ones(2, 768)}, "a textual inversion of Stable Diffusion 1 or 2"),
    ],
)
def test_one_that_does_not_fit_is_named(
    base: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    st.save_file(tensors, tmp_path / "file.safetensors")
    text = f"base: {base}\nembeddings: [{{path: ../file.safetensors, token: <x>}}]\n"
    with pytest.raises(ModelRepositoryError) as caught:
        resolve(entry(tmp_path / "model", text))
    assert str(tmp_path / "file.safetensors") in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [("a word", "is one that the tokenizer has already"), ("nan", "clip_l: holds NaN")],
)
def test_what_cannot_be_learned_is_named(base: Path, tmp_path: Path, spoil: str, said: str) -> None:
    scale = float("nan") if spoil == "nan" else 1.0
    write_embedding(tmp_path / "file.safetensors", 1, 3, scale)
    token = "<x>" if spoil == "nan" else "a"
    text = f"base: {base}\nembeddings: [{{path: ../file.safetensors, token: {token}}}]\n"
    model = resolve(entry(tmp_path / "model", text))
    with pytest.raises(ModelRepositoryError, match=r"file\.safetensors") as caught:
        PromptEncoder(model, dtype=torch.float32, device=CPU, replica="")
    assert said in str(caught.value)


def test_tokens_must_be_told_apart(base: Path, tmp_path: Path) -> None:
    file = write_embedding(tmp_path / "file.safetensors", 1, 3)
    text = f"base: {base}\nembeddings: [{{path: {file}, token: x}}, {{path: {file}, token: xy}}]\n"
    with pytest.raises(ModelRepositoryError, match="the token 'x' is part of another one"):
        resolve(entry(tmp_path / "model", text))
