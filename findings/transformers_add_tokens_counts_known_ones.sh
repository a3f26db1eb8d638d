#!/bin/sh
# transformers 5.23.0: CLIPTokenizer.add_tokens counts words that the vocabulary has already.
#
# Documented: it returns the number of tokens added to the vocabulary, and adds only what is not there.
# Seen: for a word of the vocabulary it returns 1, and the tokenizer has as many tokens as before. Up
# to 4.57.6 CLIPTokenizer returned 0; since 5 it is what CLIPTokenizerFast was, of which
# github.com/huggingface/tokenizers/issues/1243 tells the same.
# Whoever asks by that number whether a placeholder is free is told yes, and trains or overwrites a word
# that prompts use: diffusers' training scripts (examples/textual_inversion) ask so. Its
# load_textual_inversion does not, and is right. Way round: compare len(tokenizer), or look into
# get_vocab() before.
#
# Runs in a folder of its own, in a minute. Fails if another behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/finding.py" <<'PYTHON'
import json
import string
import sys
from pathlib import Path

import transformers
from transformers import CLIPTokenizer

folder, counted = Path(sys.argv[1]), int(sys.argv[2])
words = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
words += ["se", "sea", "sea</w>", "<|startoftext|>", "<|endoftext|>"]
(folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
(folder / "merges.txt").write_text("#version: 0.2\ns e\nse a\nse a</w>\n")
tokenizer = CLIPTokenizer.from_pretrained(folder)
print("transformers", transformers.__version__)
seen = {}
for word in ("sea", "<new>"):
    before = len(tokenizer)
    seen[word] = tokenizer.add_tokens([word]), len(tokenizer) - before
    print(f"  add_tokens([{word!r}]): {seen[word][0]}, and the tokenizer has {seen[word][1]} more")
assert seen == {"sea": (counted, 0), "<new>": (1, 1)}, "add_tokens counts otherwise now"
PYTHON
see() {
  mkdir "$folder/$1"
  python3 -m venv "$folder/$1/venv"
  "$folder/$1/venv/bin/pip" install --quiet --disable-pip-version-check "transformers==$1"
  "$folder/$1/venv/bin/python" "$folder/finding.py" "$folder/$1" "$2" 2>"$folder/log" ||
    { cat "$folder/log" >&2; exit 1; }
}
see 4.57.6 0
see 5.23.0 1
