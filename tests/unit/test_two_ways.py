"""Which of two ways is chosen: the faster one, if it gives the same."""

import logging

import pytest
import torch

from leyden_server.accelerator import two_ways
from leyden_server.accelerator.two_ways import is_faster

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("our_ms", "factor", "chosen"),
    [
        (0.9, 1.0, True),
        (0.9, 1.005, True),  # as bfloat16 rounds
        (0.9, 1.1, False),
        (0.99, 1.0, False),  # no more than a measurement's noise
        (1.2, 1.0, False),
    ],
)
def test_the_faster_way_is_chosen_if_it_gives_the_same(
    our_ms: float,
    factor: float,
    chosen: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    numbers = torch.randn(8)

    def ours() -> torch.Tensor:
        return factor * numbers

    def usual() -> torch.Tensor:
        return numbers

    # The card's clock alone is another.
    monkeypatch.setattr(two_ways, "_ms", lambda way, _: our_ms if way is ours else 1.0)
    with caplog.at_level(logging.INFO):
        assert is_faster("One pass", ours, usual) is chosen
    assert f"One pass: {our_ms:.3f} ms, 1.000 without" in caplog.text


@on_a_gpu
def test_a_card_tells_one_product_from_three() -> None:
    x = torch.randn(2048, 2048, device="cuda", dtype=torch.bfloat16)

    def one() -> torch.Tensor:
        return x @ x

    def three() -> torch.Tensor:
        x @ x
        x @ x
        return x @ x

    assert is_faster("one", one, three)
    assert not is_faster("three", three, one)
