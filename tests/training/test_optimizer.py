"""Muon: what its updates are, and that they do not depend on the number of workers."""

import pytest
import torch
from torch import Tensor

from leyden_training.optimizer import Muon, orthogonalise
from leyden_training.workers import Workers

CPU = torch.device("cpu")
SHAPES = ((12, 20), (20, 12), (12, 20), (6, 4, 3, 3))


def parameters() -> list[Tensor]:
    """Make parameters of several shapes, two of them alike, each with a gradient."""
    random = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=random, requires_grad=True) for shape in SHAPES]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape, generator=random)
    return made


@pytest.mark.parametrize("shape", [(3, 24, 40), (3, 40, 24)])
def test_matrices_become_orthogonal_each_by_itself(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    matrices *= torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    found = orthogonalise(matrices)
    # The five iterations end between 0.7 and 1.2, not at 1: see Muon's post.
    assert torch.linalg.svdvals(found).sub(1).abs().max() < 0.4
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.cosine_similarity(found.flatten(1), (left @ right).flatten(1))
    assert cosine.min() > 0.95


def test_an_update_has_the_size_that_the_learning_rate_says() -> None:
    for parameter in parameters():
        before = parameter.detach().clone()
        Muon([parameter], 0.1, Workers(0, 1, CPU)).step()
        rms = (parameter.detach() - before).square().mean().sqrt()
        # Moonlight's 0.2 times the learning rate, for a matrix of full rank.
        assert rms == pytest.approx(0.2 * 0.1, rel=0.25)


def test_the_shares_of_two_workers_are_the_whole_update() -> None:
    whole = parameters()
    Muon(whole, 0.1, Workers(0, 1, CPU)).step()
    shares: list[list[Tensor]] = []

    class Alone(Workers):
        """A worker that keeps what it would send."""

        def sum(self, tensors: list[Tensor]) -> None:
            shares.append([t.clone() for t in tensors])

    for rank in range(2):
        Muon(parameters(), 0.1, Alone(rank, 2, CPU)).step()
    for started, updated, first, second in zip(parameters(), whole, *shares, strict=True):
        longest = max(started.flatten(1).shape)
        expected = started - 0.2 * longest**0.5 * 0.1 * (first + second)
        torch.testing.assert_close(updated, expected, atol=1e-3, rtol=0)
