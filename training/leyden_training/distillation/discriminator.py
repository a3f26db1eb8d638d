"""The discriminator: the UNet's own encoder, and a small head on each of its blocks.

The encoder half of the teacher's UNet already tells pictures at every noise level and by
their prompts; it is copied and trained on. With the conditional objective it looks at where a
step started and where it ended, so that a student must keep to its teacher's trajectory; with
the unconditional one at the end alone (SDXL-Lightning, arXiv 2402.13929, section 3.3).

The paper's head is on the middle block; here every block has one, since what a student of few
steps lacks first is sharpness, which the outer blocks see and the middle one hardly.
"""

import copy

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from leyden_training.teacher import Conditioning

__all__ = ["Discriminator"]


class Discriminator(nn.Module):
    """Logits for "this end of a step is the teacher's"."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(unet)
        self.encoder.requires_grad_(True)
        self.encoder.up_blocks = nn.ModuleList()
        for unused in ("conv_norm_out", "conv_act", "conv_out"):
            setattr(self.encoder, unused, None)
        blocks, groups = unet.config.block_out_channels, unet.config.norm_num_groups
        channels = [*blocks, blocks[-1]]
        self.conditional_heads = nn.ModuleList(_head(2 * c, c, groups) for c in channels)
        self.unconditional_heads = nn.ModuleList(_head(c, c, groups) for c in channels)

    def features(self, latents: Tensor, timesteps: Tensor, condition: Conditioning) -> list[Tensor]:
        """Return the outputs of the encoder's blocks, outermost first, the middle block's last."""
        encoder, context = self.encoder, condition.prompt_embeds
        embedding = encoder.time_embedding(
            encoder.get_time_embed(sample=latents, timestep=timesteps)
        )
        embedding = embedding + encoder.get_aug_embed(
            emb=embedding,
            encoder_hidden_states=context,
            added_cond_kwargs={
                "text_embeds": condition.pooled_prompt_embeds,
                "time_ids": condition.add_time_ids,
            },
        )
        hidden = encoder.conv_in(latents)
        outputs = []
        for block in encoder.down_blocks:
            if getattr(block, "has_cross_attention", False):
                hidden, _ = block(hidden, embedding, encoder_hidden_states=context)
            else:
                hidden, _ = block(hidden, embedding)
            outputs.append(hidden)
        outputs.append(encoder.mid_block(hidden, embedding, encoder_hidden_states=context))
        return outputs

    def logits(self, end: list[Tensor], start: list[Tensor] | None) -> Tensor:
        """Return (B, heads) logits from features of a step's end and, if conditional, its start.

        The heads compute in float32: on a map of one pixel oneDNN's bfloat16 convolution leaves
        the weight gradients of the outer taps as it finds them in memory, at times not a number.
        """
        heads = self.unconditional_heads if start is None else self.conditional_heads
        seen = end
        if start is not None:
            seen = [torch.cat(both, dim=1) for both in zip(end, start, strict=True)]
        with torch.autocast(end[-1].device.type, enabled=False):
            judged = [head(f.float()).mean((1, 2, 3)) for head, f in zip(heads, seen, strict=True)]
        return torch.stack(judged, dim=1)


def _head(channels: int, width: int, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1),
        nn.GroupNorm(groups, width),
        nn.SiLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.GroupNorm(groups, width),
        nn.SiLU(),
        nn.Conv2d(width, 1, 1),
    )
