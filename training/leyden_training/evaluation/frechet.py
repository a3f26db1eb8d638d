"""Fréchet distance between Gaussians fitted to features of two sets of pictures.

FID (arXiv 1706.08500) with our classifier's features in place of Inception's, which knows no
rendered landscapes and would need far more pictures. From a finite set the distance comes out
too large, by an amount that falls with the number of pictures (arXiv 1911.07023); the bootstrap
tells by how much, and estimates here have it taken off. Without that, a ratio of two distances
would lie nearer to 1 than it is.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from leyden_training.evaluation.intervals import Estimate, Floats

__all__ = ["bootstrap_distances", "distance_of_sets", "frechet_distance"]


def frechet_distance(
    mean_a: Floats, covariance_a: Floats, mean_b: Floats, covariance_b: Floats
) -> float:
    """Return |m_a - m_b|² + tr(C_a + C_b - 2 (C_a^½ C_b C_a^½)^½), of m (D,) and C (D, D)."""
    root = _square_root(covariance_a)
    return _distance(mean_a, covariance_a, root, mean_b, covariance_b)


def distance_of_sets(features: Floats, others: Floats) -> float:
    """Return the distance between two sets of features, (N, D) and (M, D), as it comes out."""
    return frechet_distance(*_moments(features), *_moments(others))


def bootstrap_distances(
    reference: Floats, sets: Mapping[str, Floats], draws: npt.NDArray[np.int64]
) -> dict[str, Estimate]:
    """Each set's distance from the reference, the bias of finite sets taken off.

    Args:
        reference: (N, K, D), of K pictures of each prompt.
        sets: (N, D) each, of one picture of each prompt.
        draws: (R, N), prompts drawn with replacement, of the reference and the sets alike.

    """
    prompts, width = reference.shape[0], reference.shape[2]
    found = np.empty((len(sets), len(draws)))
    for number, draw in enumerate(draws):
        mean, covariance = _moments(reference[draw].reshape(-1, width))
        root = _square_root(covariance)
        for row, features in enumerate(sets.values()):
            found[row, number] = _distance(mean, covariance, root, *_moments(features[draw]))
    estimates = {}
    for (name, features), values in zip(sets.items(), found, strict=True):
        plain = distance_of_sets(reference.reshape(-1, width), features[:prompts])
        bias = float(values.mean()) - plain
        # In a draw the bias is there twice: of the set, and of the draw from the set.
        estimates[name] = Estimate(plain - bias, values - 2 * bias)
    return estimates


def _moments(features: Floats) -> tuple[Floats, Floats]:
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def _square_root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    return root


def _distance(
    mean_a: Floats, covariance_a: Floats, root_a: Floats, mean_b: Floats, covariance_b: Floats
) -> float:
    shared = np.linalg.eigvalsh(root_a @ covariance_b @ root_a).clip(min=0)
    apart = float(np.square(mean_a - mean_b).sum())
    traces = float(np.trace(covariance_a) + np.trace(covariance_b))
    return max(0.0, apart + traces - 2 * float(np.sqrt(shared).sum()))
