"""What a denoise step multiplies its tensors by.

Every solver's step is linear in the tensors that it takes, and the factors are known before the
loop begins. So they are computed once for a loop, in float64, and a batch whose rows stand at any
steps of any solvers is stepped by one expression:

    sample   = w.input * latents
    denoised = w.estimate_latents * latents + w.estimate_output * what the UNet predicts
    latents  = w.latents * latents + w.denoised * denoised + w.previous * previous + w.noise * noise

`previous` is the `denoised` of the step before. N is the number of steps. Sigma is the noise over
the signal, and `alpha_cumprod`, 1 / (sigma^2 + 1), the share of the signal in the variance.
"""

from typing import NamedTuple

import torch

from leyden_server.model_repository.entry import PredictionType

__all__ = ["Estimate", "Move", "StepWeights", "variance_exploding", "variance_preserving"]

Estimate = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""`input`, `estimate_latents` and `estimate_output` of `StepWeights`, each (N,) float64."""
Move = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""`latents`, `denoised`, `previous` and `noise` of `StepWeights`, each (N,) float64."""


class StepWeights(NamedTuple):
    """The factors of N steps, each (N,); or of one step of B images, each (B, 1, 1, 1)."""

    input: torch.Tensor
    """Of the latents, for what the UNet reads, whose variance is 1."""
    estimate_latents: torch.Tensor
    """Of the latents in the estimate of the denoised ones (`pred_original_sample`)."""
    estimate_output: torch.Tensor
    """Of the UNet's prediction in that estimate."""

    latents: torch.Tensor
    """Of the latents in those that the step leads to."""
    denoised: torch.Tensor
    """Of the estimate in them."""
    previous: torch.Tensor
    """Of the estimate that the step before made; 0 where the step is of first order."""
    noise: torch.Tensor
    """Of fresh noise; 0 where a step adds none, and none is drawn for it then."""

    @classmethod
    def of_rows(cls, rows: torch.Tensor) -> "StepWeights":
        """Take images' rows (B, 7) apart."""
        return cls(*rows.view(*rows.shape, 1, 1, 1).unbind(1))

    def table(self) -> torch.Tensor:
        """Return the N steps' rows (N, 7), float32."""
        return torch.stack(self, dim=1).to(torch.float32)


def variance_exploding(sigma: torch.Tensor, kind: PredictionType) -> Estimate:
    """Return the factors for latents that are signal + sigma noise; `sigma` is (N,).

    Karras et al. 2022, arXiv 2206.00364; v: Salimans & Ho 2022, arXiv 2202.00512.
    """
    scale = (sigma**2 + 1) ** -0.5
    if kind == "epsilon":
        return scale, torch.ones_like(sigma), -sigma
    if kind == "v_prediction":
        return scale, scale**2, -sigma * scale
    return scale, torch.zeros_like(sigma), torch.ones_like(sigma)


def variance_preserving(alpha_cumprod: torch.Tensor, kind: PredictionType) -> Estimate:
    """Return the factors for latents whose signal and noise have variance 1 together.

    `alpha_cumprod` is (N,). Where it is 0 (zero terminal SNR) the latents are noise alone, of which
    `epsilon` says nothing that they do not: its factors are infinite there.

    Ho et al. 2020, arXiv 2006.11239; v: Salimans & Ho 2022, arXiv 2202.00512.
    """
    signal, noise = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5
    ones = torch.ones_like(signal)
    if kind == "epsilon":
        return ones, 1 / signal, -noise / signal
    if kind == "v_prediction":
        return ones, signal, -noise
    return ones, torch.zeros_like(signal), ones
