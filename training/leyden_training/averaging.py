"""The exponential moving average of a model's weights: what is saved, sampled and judged."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

__all__ = ["average_of", "decay_after"]


Weights = tuple[Tensor, ...] | list[Tensor]


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Return an average to update with the model after each of its updates.

    Args:
        model: copied; the average has its shapes, dtypes and device.
        decay: in [0, 1), what the average keeps of itself in an update; less in early ones.

    """

    @torch.no_grad()
    def update(average: Weights, now: Weights, updates: Tensor | int) -> None:
        torch._foreach_lerp_(average, now, 1 - decay_after(int(updates), decay))

    return AveragedModel(model, multi_avg_fn=update)


def decay_after(updates: int, decay: float) -> float:
    """Return min(decay, (1 + n) / (10 + n)) after n updates.

    The average is then over the last ninth or so of a run that is short for its decay. With the
    decay alone the first weights would count d^n of the last average: 41% after 90 updates at
    0.99. The rule is that of TensorFlow's ExponentialMovingAverage (`num_updates`) and of
    diffusers' EMAModel.
    """
    return min(decay, (1 + updates) / (10 + updates))
