"""Denoising attention: how reliable a source is depends on the row; pseudo labels, attention and student improve each other.

Ren, Li, Su, Kartchner, Mitchell and Zhang 2020, "Denoising Multi-Source Weak Supervision for Neural Text Classification". Rows on which
all sources are silent are learned from by self-training with temporal ensembling (Laine and Aila 2017).
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from steelyard.errors import ConfigError
from steelyard.training.joint.base import JointOptions, JointStudent
from steelyard.training.joint.descent import Descent
from steelyard.training.joint.networks import JointNetwork, source_scores
from steelyard.training.joint.rows import JointBatch, JointRows, hardened, with_gold
from steelyard.training.objectives import soft_cross_entropy


class DenoisingAttention(JointStudent):
    """Loss ``c1 CE(p_h, ŷ) + c2 CE(f, ŷ) + (1 − c1 − c2) ‖f − z‖²``.

    - Attention ``a_i = softmax(W2 tanh(W1 [x_i, λ_i]))`` over the m sources weighs the votes of the row: ``p_h(c) = Σ_j a_ij [λ_ij = c]``,
      divided by the attention of the sources that vote.
    - The reliability of a source is the softmax over sources of the mean attention that its votes get: at most e times another's, so
      that no source takes over. ŷ is the class with most reliability behind it, a tie shared by the tied classes; it is made anew
      before each epoch, so the first is the majority vote. A gold label takes its place.
    - The student f learns ŷ where a source votes, and the running mean z of its own answers (weight ``ensembling`` of the past, corrected
      for its start at zero) where none does.

    With votes, `predict_proba` gives `p_h` where a source votes and the student's answer elsewhere.

    Parameters
    ----------
    attention_weight, student_weight
        c1 and c2, not negative, with a sum of at most 1.
    ensembling
        Weight in [0, 1) of the past in z.
    encoder, **options
        See `JointStudent`.

    Attributes
    ----------
    reliabilities_
        (m,) of the sources at the end; sums to 1.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y, x = rng.integers(0, 2, 400), rng.normal(size=(400, 4))
    >>> x[:, 0] += 3 * y
    >>> right = rng.random((400, 3)) < [0.9, 0.7, 0.7]
    >>> from steelyard import Votes
    >>> student = DenoisingAttention(epochs=20).fit(x, Votes(np.where(right, y[:, None], 1 - y[:, None]), classes=["a", "b"]))
    >>> bool((student.predict(x) == y).mean() > 0.85), round(float(student.reliabilities_.sum()), 4)
    (True, 1.0)
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        attention_weight: float = 0.2,
        student_weight: float = 0.7,
        ensembling: float = 0.6,
        **options: Unpack[JointOptions],
    ) -> None:
        super().__init__(encoder, **options)
        self.attention_weight = attention_weight
        self.student_weight = student_weight
        self.ensembling = ensembling

    def _network(self, d: int, m: int, k: int) -> JointNetwork:
        return _Network(d, m, k, self.hidden, self.dropout)

    def _learn(self, network: Any, rows: JointRows, descent: Descent, **further: Any) -> None:
        m = rows.votes.n_sources
        reliabilities = torch.full((m,), 1 / m)
        pseudo = torch.zeros_like(rows.shares)
        ensemble, seen = torch.zeros_like(rows.shares), torch.zeros(len(rows))

        def renew() -> None:
            with torch.no_grad():
                # The first labels come from equal reliabilities, whatever attention a random network happens to give.
                if pseudo.any():
                    reliabilities.copy_(mean_reliability(network, rows))
                pseudo.copy_(torch.cat([pseudo_labels(reliabilities * part.strength, part.ballots, part.gold) for part in rows.chunks()]))

        def loss(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            batch = rows.batch(index)
            logits, target = network.student(batch.features), pseudo[index]
            known = target.sum(1) > 0
            voted = _combined(network.attention(batch), batch).clamp(min=1e-10).log()
            terms = {
                "attention": -(target * voted)[batch.covered & known].sum(1).sum() / len(index),
                "student": soft_cross_entropy(logits[known], target[known]) if known.any() else logits.sum() * 0,
                "silent": self._silent(logits[~known], index[~known], ensemble, seen),
            }
            c1, c2 = self.attention_weight, self.student_weight
            return c1 * terms["attention"] + c2 * terms["student"] + (1 - c1 - c2) * terms["silent"], terms

        descent.run(network, torch.arange(len(rows)), loss, "both", each_epoch=renew, judge=True)
        with torch.no_grad():
            network.reliabilities.copy_(mean_reliability(network, rows))

    def _silent(self, logits: torch.Tensor, index: torch.Tensor, ensemble: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Squared distance to z of rows that have one, which are those seen before; then z takes in the new answers."""
        answers, past = logits.softmax(-1), seen[index]
        mean = ensemble[index] / (1 - self.ensembling**past).clamp(min=1e-6)[:, None]
        distance = ((answers - mean).square().sum(1) * (past > 0)).sum() / max(len(index), 1)
        ensemble[index] = self.ensembling * ensemble[index] + (1 - self.ensembling) * answers.detach()
        seen[index] += 1
        return distance

    def _with_votes(self, network: Any, batch: JointBatch) -> torch.Tensor:
        student = network.student(batch.features).softmax(-1)
        return torch.where(batch.covered[:, None], _combined(network.attention(batch), batch), student)

    @property
    def reliabilities_(self) -> NDArray[np.float32]:
        """(m,) of the sources on the training rows; sums to 1."""
        self._check_fitted()
        return np.asarray(self.network_.reliabilities.numpy(), dtype=np.float32)

    def _check_options(self) -> None:
        super()._check_options()
        c1, c2 = self.attention_weight, self.student_weight
        if min(c1, c2) < 0 or c1 + c2 > 1 or not 0.0 <= self.ensembling < 1.0:
            raise ConfigError(
                f"DenoisingAttention: attention_weight ({c1}) and student_weight ({c2}) must not be negative nor sum to more than 1, "
                f"ensembling ({self.ensembling}) must be in [0, 1)"
            )


def pseudo_labels(weights: torch.Tensor, ballots: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """(b, k) the class with most weight (b, m) of votes (b, m, k), ties shared; the gold label (b,) where known; zeros where neither is.

    Examples
    --------
    >>> ballots = torch.eye(2)[torch.tensor([[0, 1], [0, 1]])]
    >>> pseudo_labels(torch.tensor([[0.7, 0.3], [0.5, 0.5]]), ballots, torch.tensor([-1, -1])).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    return with_gold(hardened(torch.einsum("bm,bmk->bk", weights, ballots)), gold)


def mean_reliability(network: Any, rows: JointRows) -> torch.Tensor:
    """(m,) softmax of the mean attention that the votes of each source get."""
    total = torch.stack([(network.attention(part) * part.fires).sum(0) for part in rows.chunks()]).sum(0)
    return (total / rows.covered.sum().clamp(min=1)).softmax(0)


def _combined(attention: torch.Tensor, batch: JointBatch) -> torch.Tensor:
    """(b, k) votes weighed by attention, rows sum to 1; zeros where all sources are silent."""
    weighed = torch.einsum("bm,bmk->bk", attention * batch.strength, batch.ballots)
    return weighed / weighed.sum(1, keepdim=True).clamp(min=1e-10)


class _Network(JointNetwork):
    reliabilities: torch.Tensor

    def __init__(self, d: int, m: int, k: int, hidden: int, dropout: float) -> None:
        super().__init__(d, hidden, k, dropout)
        self.scores = source_scores(d, m, k, hidden, layers=1, dropout=0.0)
        self.register_buffer("reliabilities", torch.full((m,), 1 / m))

    def attention(self, batch: JointBatch) -> torch.Tensor:
        """(b, m) softmax over the sources."""
        return self.scores(batch.seen_by_sources).softmax(-1)  # type: ignore[no-any-return]
