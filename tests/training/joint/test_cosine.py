"""COSINE: pseudo labels, certainty and contrast by hand, and self-training on rows that no source votes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.training import COSINE
from steelyard.training.joint.cosine import certainty, pairwise_contrast, sharpened
from steelyard.votes import Votes
from tests.training.joint.simulated import experts


def test_sharpening_raises_the_surer_class_and_discounts_the_common_one():
    p = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.7, 0.3]])
    squares = p.numpy() ** 2 / p.numpy().sum(0)
    np.testing.assert_allclose(sharpened(p), squares / squares.sum(1, keepdims=True), atol=1e-6)
    assert sharpened(torch.tensor([[0.6, 0.4], [0.4, 0.6]]))[0, 0] > 0.6
    assert sharpened(p)[0, 0] < 0.6  # the first class is answered on all rows


def test_certainty_is_one_minus_the_share_of_the_largest_entropy():
    p = np.array([[0.7, 0.2, 0.1]])
    np.testing.assert_allclose(certainty(torch.tensor(p)), 1 + (p * np.log(p)).sum(1) / np.log(3), atol=1e-12)


def test_contrast_over_all_pairs_by_hand_and_its_gradient():
    hidden = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 0, 1, 2, 1])
    total, h = 0.0, hidden.detach().numpy()
    for i in range(5):
        for j in range(i):
            d = np.sqrt(((h[i] - h[j]) ** 2).mean())
            total += d**2 if labels[i] == labels[j] else max(0.0, 1.5 - d) ** 2
    assert float(pairwise_contrast(hidden, labels, 1.5).detach()) == pytest.approx(total / 10)
    assert torch.autograd.gradcheck(lambda v: pairwise_contrast(v, labels, 1.5), (hidden,))
    assert float(pairwise_contrast(hidden[:1], labels[:1], 1.0).detach()) == 0


def test_equal_rows_of_other_labels_have_a_finite_gradient():
    hidden = torch.zeros(2, 3, requires_grad=True)
    pairwise_contrast(hidden, torch.tensor([0, 1]), 1.0).backward()
    assert torch.isfinite(hidden.grad).all()


def test_self_training_reaches_rows_no_source_votes_on():
    """Votes cover an eighth of the rows; confident answers carry them on. A threshold of 1 leaves what the votes taught."""
    scores = {0.3: [], 1.0: []}
    for seed in range(3):
        x, y, votes = experts(800, seed, outside=0.9)
        codes = votes.codes.copy()
        codes[100:] = -1
        for threshold, found in scores.items():
            student = COSINE(threshold=threshold, batch_size=16, seed=seed).fit(x, Votes(codes, classes=["a", "b"]))
            found.append((student.predict(x) == y).mean())
            confident = max(line["confident"] for line in student.history_ if line["phase"] == "self-training")
            assert confident == 0 if threshold == 1 else confident > 0.3
    assert np.mean(scores[0.3]) > np.mean(scores[1.0])


def test_options_out_of_range_are_named():
    x, _, votes = experts(20)
    for options in ({"threshold": 1.1}, {"margin": -1}, {"contrast": -1}, {"uniform": -0.1}):
        with pytest.raises(ConfigError, match="COSINE"):
            COSINE(**options).fit(x, votes)
