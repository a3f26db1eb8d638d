"""The learning rate of a run that may be prolonged."""

__all__ = ["learning_rate_at"]


def learning_rate_at(
    iteration: int, *, total: int, peak: float, warmup: int, cooldown: int, start: int = 0
) -> float:
    """Rise from `start` on, hold, and fall to zero over the last `cooldown` iterations.

    A run whose `total` is raised while it holds goes on as if it had been meant so, which no
    cosine does.
    """
    rise = min(1.0, (iteration - start + 1) / max(1, warmup))
    fall = min(1.0, (total - iteration) / max(1, cooldown))
    return peak * min(rise, fall)
