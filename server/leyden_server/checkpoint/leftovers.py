"""Tensors of weight files that are known to mean nothing when an image is made."""

import re

__all__ = ["is_leftover"]

LEFTOVERS = (
    # Whole numbers from 0 to 76, which the position embedding is indexed by.
    r"(.*\.)?position_ids",
    # CLIP's scale of similarities between texts and images: nothing is compared.
    r"(.*\.)?logit_scale",
    # A projection of the first text encoder, of which SDXL reads hidden states alone.
    r"(conditioner\.embedders\.0\.transformer\.)?text_projection\.weight",
    # A second set of UNet weights, averaged over training; the first is what the file is for.
    r"model_ema\..*",
    # The noise schedule that training used; the schedule comes from the scheduler's config.
    r"(denoiser\.)?(sigmas|log_sigmas|betas|logvar|scale_factor)",
    r"(sqrt_|log_)?(one_minus_|recip_|recipm1_)*alphas_cumprod(_prev)?",
    r"sqrt_(one_minus|recip|recipm1)_alphas_cumprod",
    r"log_one_minus_alphas_cumprod",
    r"posterior_(variance|log_variance_clipped|mean_coef[12])",
    r"lvlb_weights",
    # The discriminator that a VAE was trained against.
    r"(first_stage_model\.)?loss\..*",
    # Counters of training.
    r"(global_step|epoch|iteration|model_ema\.(decay|num_updates))",
)
_LEFTOVER = re.compile("|".join(f"(?:{pattern})" for pattern in LEFTOVERS))


def is_leftover(name: str) -> bool:
    """Tell whether a tensor of this name changes no picture."""
    return _LEFTOVER.fullmatch(name) is not None
