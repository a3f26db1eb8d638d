#!/bin/sh
# lycoris-lora 4.1.3: LoHa and LoKr are merged with alpha / rank squared, and trained with it once.
#
# Expected: a layer gives the same with an adapter in its forward pass, which is what is trained, as
# with the adapter merged into its weight.
# Seen: so it is of LoCon. Of LoHa and LoKr, get_weight multiplies by alpha / rank, and
# get_diff_weight, which merge_to goes through, multiplies what get_weight gives by it again. With
# alpha 1 and rank 4 what was learned counts a quarter after the merge; with alpha = rank there is
# nothing to see.
# Whoever merges such a file with LyCORIS, or takes its merge for the truth to test against, has it
# too weak. Way round: apply the factor once, or merge at rank / alpha.
#
# Runs in a folder of its own, in two minutes, most of them to install torch. Fails if another
# behaviour is seen.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  'lycoris-lora==4.1.3' 'torch==2.13.0'
cat > "$folder/finding.py" <<'PYTHON'
from importlib.metadata import version

import torch
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule

RANK, WIDTH = 4, 64
KINDS = {"LoCon": (LoConModule, {}), "LoHa": (LohaModule, {}), "LoKr": (LokrModule, {"factor": 4})}


@torch.no_grad()
def merged_by_trained(kind, alpha):
    """Return how much the merged adapter adds, by what its forward pass adds."""
    make, settings = KINDS[kind]
    torch.manual_seed(0)
    layer = torch.nn.Linear(WIDTH, WIDTH)
    adapter = make("layer", layer, 1.0, lora_dim=RANK, alpha=alpha, **settings)
    for parameter in adapter.parameters():
        parameter.normal_()
    inputs = torch.randn(8, WIDTH)
    plain = layer(inputs)
    adapter.apply_to()
    trained = layer(inputs) - plain
    adapter.restore()
    assert torch.equal(layer(inputs), plain)
    adapter.merge_to(1.0)
    merged = layer(inputs) - plain
    factor = float((merged * trained).sum() / (trained * trained).sum())
    torch.testing.assert_close(merged, factor * trained, rtol=1e-3, atol=1e-3)
    return factor


print("lycoris-lora", version("lycoris-lora"), "torch", torch.__version__, "rank", RANK)
seen = {}
for kind in KINDS:
    for alpha in (RANK, 1):
        seen[kind, alpha] = merged_by_trained(kind, alpha)
        print(f"  {kind}, alpha {alpha}: merged / trained = {seen[kind, alpha]:.4f}")
for (kind, alpha), factor in seen.items():
    expected = 1 if kind == "LoCon" else alpha / RANK
    assert abs(factor - expected) < 1e-3, f"{kind} is merged otherwise now"
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
