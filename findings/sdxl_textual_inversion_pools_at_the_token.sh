#!/bin/sh
# diffusers 0.42.1, transformers 5.23.0: with a textual inversion, SDXL's pooled embedding is taken at
# the learned token, not at the end of the prompt.
#
# Expected: load_textual_inversion adds a token to tokenizer_2 and text_encoder_2, and the pooled
# embedding is what it is of any other prompt, the projected hidden state at <|endoftext|>.
# Seen: SDXL's published configs have eos_token_id 2, which is not the end's id. For it transformers'
# CLIP takes the highest id of the prompt, which was the end's until a learned token had a higher one.
# Known (github.com/huggingface/transformers/issues/24650,
# github.com/huggingface/diffusers/issues/10754), and load_textual_inversion neither mends nor
# mentions it.
# SDXL's UNet was trained with the vector of the end; every image with such a token has another.
# Way round: text_encoder_2.text_model.eos_token_id = tokenizer_2.eos_token_id.
#
# Runs in a folder of its own, in two minutes, most of them to install torch. Fails if another
# behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'diffusers==0.42.1' 'transformers==5.23.0' 'torch==2.13.0'
cat > "$folder/finding.py" <<'PYTHON'
import json
import string
import sys
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

WIDTH, TOKEN = 32, "<toy>"
transformers.utils.logging.set_verbosity_error()


def tokenizer_in(folder):
    """Write a tokenizer that spells, as SDXL's with the end as its last token, and load it."""
    letters = [*string.ascii_lowercase, *"<>"]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def pipeline_with(tokenizer):
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        eos_token_id=2,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    encoder = CLIPTextModelWithProjection(config).eval()
    return StableDiffusionXLPipeline(
        vae=None,
        text_encoder=None,
        text_encoder_2=encoder,
        tokenizer=None,
        tokenizer_2=tokenizer,
        unet=None,
        scheduler=EulerDiscreteScheduler(),
        add_watermarker=False,
    )


@torch.no_grad()
def pooled_at(pipeline, prompt):
    """Return the token whose hidden state the pipeline has for the pooled embedding."""
    encoder, tokenizer = pipeline.text_encoder_2, pipeline.tokenizer_2
    _, _, pooled, _ = pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)
    ids = tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    states = encoder.text_projection(encoder(ids).last_hidden_state)[0]
    distances = (states - pooled).abs().amax(dim=-1)
    place = int(distances.argmin())
    assert distances[place] < 1e-5 < distances.sort().values[1] / 10
    tokens = tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert place == tokens.index(tokens[place]), "the first one, not a padding"
    return tokens[place]


folder = Path(sys.argv[1])
print("diffusers", diffusers.__version__, "transformers", transformers.__version__)
seen = {}
for name in ("as published", "way round"):
    tokenizer = tokenizer_in(folder / name)
    pipeline = pipeline_with(tokenizer)
    if name == "way round":
        pipeline.text_encoder_2.text_model.eos_token_id = tokenizer.eos_token_id
    before = pooled_at(pipeline, "a toy on sand")
    pipeline.load_textual_inversion(
        {TOKEN: torch.randn(WIDTH)},
        text_encoder=pipeline.text_encoder_2,
        tokenizer=tokenizer,
    )
    seen[name] = before, pooled_at(pipeline, f"a {TOKEN} on sand")
    print(f"  {name}: pooled at {before}; of a prompt with a learned token at {seen[name][1]}")
END = "<|endoftext|>"
assert seen["as published"] == (END, TOKEN), "pooled elsewhere now"
assert seen["way round"] == (END, END), "the way round is none any more"
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder" 2>"$folder/log" ||
  { cat "$folder/log" >&2; exit 1; }
