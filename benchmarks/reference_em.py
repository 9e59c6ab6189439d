"""Dawid-Skene written once more, row by row and without any of steelyard's code: the stand-in for WRENCH, which does not install.

As WRENCH does it: abstaining is an observed symbol, maximum likelihood with a tiny floor, start at the majority vote, stop when the
parameters rest.
"""

import numpy as np


def dawid_skene(votes: np.ndarray, n_classes: int, n_iter: int = 1000, tolerance: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Confusions (m, k, k + 1), abstain first, and class prior (k,) from votes (n, m) with -1 = abstain."""
    symbols = votes[:, :, None] + 1 == np.arange(n_classes + 1)  # (n, m, k + 1)
    counts = symbols[:, :, 1:].sum(axis=1).astype(float)
    posterior = np.where(counts.sum(axis=1, keepdims=True) > 0, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), 1 / n_classes)
    confusions = prior = np.zeros(())
    for _ in range(n_iter):
        previous = confusions, prior
        prior = posterior.mean(axis=0)
        expected = np.einsum("nk,nml->mkl", posterior, symbols) + 1e-10
        confusions = expected / expected.sum(axis=2, keepdims=True)
        posterior = posteriors(votes, confusions, prior)
        if (
            confusions.shape == previous[0].shape
            and max(np.abs(confusions - previous[0]).max(), np.abs(prior - previous[1]).max()) < tolerance
        ):
            break
    return confusions, prior


def posteriors(votes: np.ndarray, confusions: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """(n, k) class probabilities."""
    log = np.log(np.maximum(prior, 1e-300)) + sum(np.log(confusions[j][:, votes[:, j] + 1]).T for j in range(votes.shape[1]))
    odds = np.exp(log - log.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
