"""The average of weights follows them, in runs of any length."""

import pytest
import torch
from torch import nn

from leyden_training.averaging import average_of, decay_after


@pytest.mark.parametrize(("updates", "decay", "expected"), [(0, 0.99, 0.1), (90, 0.99, 0.91)])
def test_a_young_average_forgets_faster(updates: int, decay: float, expected: float) -> None:
    assert decay_after(updates, decay) == pytest.approx(expected)


def test_an_old_average_keeps_what_its_decay_says() -> None:
    assert decay_after(10_000, 0.99) == 0.99


@pytest.mark.parametrize("updates", [30, 90, 300])
def test_the_first_weights_are_gone_from_the_average_of_a_short_run(updates: int) -> None:
    """Weights of 1 once, then 0: what is left is what the first ones count."""
    model = nn.Linear(3, 2, bias=False)
    average = average_of(model, 0.99)
    for number in range(updates):
        nn.init.constant_(model.weight, float(number == 0))
        average.update_parameters(model)
    found = average.module.weight
    assert isinstance(found, nn.Parameter)
    assert found.max() == found.min()
    assert 0 < found.max() < 1e-3 * 30 / updates


def test_an_average_of_what_stands_still_is_that() -> None:
    model = nn.Linear(3, 2)
    average = average_of(model, 0.9)
    for _ in range(20):
        average.update_parameters(model)
    torch.testing.assert_close(average.module.weight, model.weight)
