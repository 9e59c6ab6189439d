"""WeaSEL: a network weighs the votes of each row, a student answers from the features, and each is the other's target.

Rühling Cachay, Boecking and Dubrawski 2021, "End-to-End Weak Supervision". Only rows with a vote take part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch

from steelyard.errors import ConfigError
from steelyard.training.joint.base import JointOptions, JointStudent
from steelyard.training.joint.descent import Descent
from steelyard.training.joint.networks import JointNetwork, source_scores
from steelyard.training.joint.rows import JointBatch, JointRows, with_gold
from steelyard.training.objectives import soft_cross_entropy


class WeaSEL(JointStudent):
    """Student f and vote encoder e with the loss ``CE(f, stop(y_e)) + CE(y_e, stop(y_f))``, where no gradient flows into a target.

    The encoder gives source j of row i the accuracy ``θ_ij = √m · softmax_j(e(x_i, λ_i) / τ)`` and the row the label
    ``y_e = softmax_c(Σ_j θ_ij [λ_ij = c] + log P(c))``: the posterior of a label model whose accuracies depend on the row. Rows with a
    gold label have it as both targets. With votes, `predict_proba` gives `y_e` where a source votes and the student's answer elsewhere.

    The softmax runs over the sources that vote on the row. Over all m, as in the paper, the encoder of real votes soon gave its weight to
    silent sources, whereupon both networks agreed on the uniform distribution (TREC validation rows: 31 % right, loss 2 log 6).

    Parameters
    ----------
    temperature
        τ > 0; small lets one source speak for the row, large makes all alike: the majority vote.
    class_prior
        (k,) P(c); uniform when left out.
    encoder, **options
        See `JointStudent`. The encoder of votes has two hidden layers, which leave out 30 % of their units.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y, x = rng.integers(0, 2, 400), rng.normal(size=(400, 4))
    >>> x[:, 0] += 3 * y
    >>> right = rng.random((400, 3)) < [0.9, 0.7, 0.7]
    >>> from steelyard import Votes
    >>> student = WeaSEL(epochs=20).fit(x, Votes(np.where(right, y[:, None], 1 - y[:, None]), classes=["a", "b"]))
    >>> bool((student.predict(x) == y).mean() > 0.85)
    True
    """

    reads_silent_rows: ClassVar[bool] = False

    def __init__(
        self, encoder: Any = None, *, temperature: float = 1.0, class_prior: Sequence[float] | None = None, **options: Unpack[JointOptions]
    ) -> None:
        super().__init__(encoder, **options)
        self.temperature = temperature
        self.class_prior = class_prior

    def _network(self, d: int, m: int, k: int) -> JointNetwork:
        if self.class_prior is not None and (len(self.class_prior) != k or min(self.class_prior) < 0):
            raise ConfigError(f"WeaSEL: class_prior is {list(self.class_prior)}; it must be {k} numbers that are not negative")
        return _Network(d, m, k, self.hidden, self.dropout)

    def _learn(self, network: Any, rows: JointRows, descent: Descent, **further: Any) -> None:
        def loss(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            batch = rows.batch(index)
            student, votes = network.student(batch.features), self._vote_logits(network, batch)
            terms = {
                "student": soft_cross_entropy(student, with_gold(votes.detach().softmax(-1), batch.gold)),
                "votes": soft_cross_entropy(votes, with_gold(student.detach().softmax(-1), batch.gold)),
            }
            return terms["student"] + terms["votes"], terms

        descent.run(network, torch.arange(len(rows)), loss, "both", judge=True)

    def _with_votes(self, network: Any, batch: JointBatch) -> torch.Tensor:
        student = network.student(batch.features).softmax(-1)
        return torch.where(batch.covered[:, None], self._vote_logits(network, batch).softmax(-1), student)

    def _vote_logits(self, network: Any, batch: JointBatch) -> torch.Tensor:
        """(b, k) Σ_j θ_ij [λ_ij = c] + log P(c)."""
        accuracies = source_accuracies(network.scores(batch.seen_by_sources), batch.fires, self.temperature)
        summed = torch.einsum("bm,bmk->bk", accuracies * batch.strength, batch.ballots)
        prior = torch.ones(summed.shape[1]) if self.class_prior is None else torch.as_tensor(self.class_prior, dtype=torch.float32)
        return summed + prior.clamp(min=1e-10).log()

    def _check_options(self) -> None:
        super()._check_options()
        if self.temperature <= 0:
            raise ConfigError(f"WeaSEL: temperature is {self.temperature}; it must be positive")


def source_accuracies(scores: torch.Tensor, fires: torch.Tensor, temperature: float) -> torch.Tensor:
    """(b, m) `√m · softmax(scores / temperature)` over the sources that vote: how much each vote counts; rows sum to √m, or 0 in silence.

    Examples
    --------
    >>> source_accuracies(torch.zeros(1, 4), torch.tensor([[True, True, False, False]]), 1.0)
    tensor([[1., 1., 0., 0.]])
    """
    masked = (scores / temperature).masked_fill(~fires, -1e9)  # finite, or rows of silence would have no gradient
    return math.sqrt(scores.shape[1]) * masked.softmax(-1).masked_fill(~fires, 0.0)


class _Network(JointNetwork):
    def __init__(self, d: int, m: int, k: int, hidden: int, dropout: float) -> None:
        super().__init__(d, hidden, k, dropout)
        self.scores = source_scores(d, m, k, hidden, layers=2, dropout=0.3)
