"""A student as a LoRA: the difference of two UNets, at low rank, in the published key format.

`sdxl_lightning_4step_lora.safetensors` names its tensors as kohya's trainer does:
`lora_unet_<module path, dots as underscores>.lora_down.weight`, `.lora_up.weight`, `.alpha`.
The two layers that embed the sizes have kohya's own names: by the path diffusers finds neither.
"""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = ["extract_lora", "write_lora"]

KOHYA_NAMES = {
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}


@torch.no_grad()
def extract_lora(
    base: UNet2DConditionModel, student: UNet2DConditionModel, rank: int
) -> dict[str, Tensor]:
    """Approximate `student - base` as well as the rank allows, for each linear and convolution.

    Args:
        base: what the LoRA will be laid over.
        student: of the same shape.
        rank: largest rank of each difference.

    Returns:
        Tensors by their published names, float16. Alpha equals the rank, so that the scale
        of the whole is 1. Norms and biases stay the base's: the format has no place for them.

    """
    tensors: dict[str, Tensor] = {}
    others = dict(student.named_modules())
    for path, module in base.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        difference = others[path].weight.float() - module.weight.float()
        flat = difference.flatten(1)
        kept = min(rank, *flat.shape)
        left, values, right = torch.linalg.svd(flat, full_matrices=False)
        root = values[:kept].sqrt()
        down, up = root[:, None] * right[:kept], left[:, :kept] * root
        if isinstance(module, nn.Conv2d):
            down = down.view(kept, *difference.shape[1:])
            up = up[:, :, None, None]
        name = "lora_unet_" + KOHYA_NAMES.get(path, path.replace(".", "_"))
        tensors[f"{name}.lora_down.weight"] = down.half().contiguous()
        tensors[f"{name}.lora_up.weight"] = up.half().contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(float(kept), dtype=torch.float16)
    return tensors


def write_lora(base: Path, student: Path, out: Path, rank: int) -> None:
    """Extract from two UNet folders and write a safetensors file."""
    loaded = [UNet2DConditionModel.from_pretrained(folder) for folder in (base, student)]
    part = out.with_suffix(".part")
    save_file(extract_lora(loaded[0], loaded[1], rank), part)
    part.replace(out)
