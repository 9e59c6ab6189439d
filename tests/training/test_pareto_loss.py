"""The harmonizer's loss for any trainer equals the sum over single sources, and fine-tunes a whole encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steelyard import Votes
from steelyard.errors import ConfigError
from steelyard.label_models.source_weights import vote_shares
from steelyard.scalarizers import SCALARIZERS
from steelyard.training import StudentTrainer
from steelyard.training.objectives import ParetoLoss
from tests.training.tiny_models import CLASSES, bert, toy_task


@pytest.mark.parametrize("aggregation", ["linear", "quadratic"])
def test_vote_shares_give_the_loss_over_single_votes(aggregation: str) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 3, (40, 5))
    codes[:, 0] = np.maximum(codes[:, 0], 0)
    w = rng.random(5)
    shares = vote_shares(Votes(codes, classes=["a", "b", "c"]), w)
    logits = torch.from_numpy(rng.normal(size=(40, 3)))
    losses = -logits.log_softmax(-1).gather(1, torch.from_numpy(np.maximum(codes, 0)))
    expected = SCALARIZERS[aggregation](losses, torch.from_numpy(w * (codes >= 0))).mean()
    loss = ParetoLoss(aggregation)(logits, torch.from_numpy(shares.probabilities), torch.from_numpy(shares.weights))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_whole_encoder_is_fine_tuned_to_all_sources() -> None:
    texts, y, _ = toy_task(160)
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((160, 4)) < 0.8, y[:, None], 1 - y[:, None])
    codes[rng.random((160, 4)) < 0.2] = -1
    shares = vote_shares(Votes(codes, classes=CLASSES))
    student = StudentTrainer(bert(), objective=ParetoLoss(), epochs=6, learning_rate=5e-3).fit(texts, shares)
    assert (student.predict(texts) == y).mean() > 0.9


def test_an_unknown_aggregation_is_refused() -> None:
    with pytest.raises(ConfigError, match="quadratic"):
        ParetoLoss("sum")
