"""COSINE: start from the majority vote, then learn from one's own confident answers, also where every source is silent.

Yu, Zuo, Jiang, Ren, Zhao and Zhang 2021, "Fine-Tuning Pre-trained Language Model with Weak Supervision: A Contrastive-Regularized
Self-Training Approach". Here on frozen features, so that what the contrast shapes is the hidden layer of the student.
"""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch.nn import functional

from steelyard.errors import ConfigError
from steelyard.training.joint.base import JointOptions, JointStudent
from steelyard.training.joint.descent import Descent
from steelyard.training.joint.networks import JointNetwork
from steelyard.training.joint.rows import JointRows, hardened, with_gold
from steelyard.training.objectives import soft_cross_entropy


class COSINE(JointStudent):
    """First the cross-entropy with the majority vote, ties shared; then self-training on the confident rows C of all rows:
    ``mean_C w KL(ỹ ‖ f) + contrast · R1 + uniform · mean_C KL(u ‖ f)``.

    - Before each epoch of self-training the student answers all rows with f, and ``ỹ_c ∝ f_c² / Σ_i f_ic``.
    - ``w = 1 − H(f) / log k`` is how certain the answer is; C are the rows with ``w ≥ threshold``.
    - R1 is the mean over pairs of C of ``d²`` where both have the same pseudo label and ``max(0, margin − d)²`` where not, d being the root
      of the mean squared difference of their hidden layers.
    - KL(u ‖ f), the divergence from the uniform distribution u, keeps the student from being sure of everything.

    Gold labels stand in for votes and pseudo labels. There is no model of the sources, hence no answer from votes.

    Parameters
    ----------
    threshold
        Least certainty in [0, 1] of a row to learn from. Where no row reaches it, self-training changes nothing; `confident` in
        `history_` tells.
    margin, contrast
        Of R1, and its weight; not negative.
    uniform
        Weight of KL(u ‖ f), not negative.
    encoder, **options
        See `JointStudent`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y, x = rng.integers(0, 2, 400), rng.normal(size=(400, 4))
    >>> x[:, 0] += 3 * y
    >>> codes = np.where(rng.random((400, 3)) < 0.7, y[:, None], 1 - y[:, None])
    >>> codes[200:] = -1  # rows without votes are learned from, too
    >>> from steelyard import Votes
    >>> student = COSINE().fit(x, Votes(codes, classes=["a", "b"]))
    >>> bool((student.predict(x) == y).mean() > 0.85)
    True
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        threshold: float = 0.5,
        margin: float = 1.0,
        contrast: float = 1.0,
        uniform: float = 0.1,
        **options: Unpack[JointOptions],
    ) -> None:
        super().__init__(encoder, **options)
        self.threshold = threshold
        self.margin = margin
        self.contrast = contrast
        self.uniform = uniform

    def _network(self, d: int, m: int, k: int) -> JointNetwork:
        return JointNetwork(d, self.hidden, k, self.dropout)

    def _learn(self, network: Any, rows: JointRows, descent: Descent, **further: Any) -> None:
        student, k = network.student, rows.votes.n_classes
        majority = with_gold(hardened(rows.shares), rows.gold)
        pseudo, certain = torch.zeros_like(rows.shares), torch.zeros(len(rows))

        def imitate(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss = soft_cross_entropy(student(rows.features[index]), majority[index])
            return loss, {"cross_entropy": loss}

        def answer() -> None:
            with torch.no_grad():
                answers = with_gold(student(rows.features).softmax(-1), rows.gold)
                pseudo.copy_(with_gold(sharpened(answers), rows.gold))
                certain.copy_(certainty(answers))

        def trust(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            confident = certain[index] >= self.threshold
            index = index[confident]
            logits, hidden = student.read(rows.features[index])
            n, log_f = max(len(index), 1), logits.log_softmax(-1)
            terms = {
                "self_training": (certain[index, None] * functional.kl_div(log_f, pseudo[index], reduction="none")).sum() / n,
                "contrast": pairwise_contrast(hidden, pseudo[index].argmax(1), self.margin),
                "uniform": functional.kl_div(log_f, torch.full_like(log_f, 1 / k), reduction="none").sum() / n,
            }
            loss = terms["self_training"] + self.contrast * terms["contrast"] + self.uniform * terms["uniform"]
            return loss, {**terms, "confident": confident.float().mean()}

        labelled = torch.nonzero(majority.sum(1) > 0).flatten()
        descent.run(student, labelled, imitate, "votes", judge=True)
        descent.run(student, torch.arange(len(rows)), trust, "self-training", each_epoch=answer, judge=True)

    def _check_options(self) -> None:
        super()._check_options()
        if not 0.0 <= self.threshold <= 1.0 or min(self.margin, self.contrast, self.uniform) < 0:
            raise ConfigError(
                f"COSINE: threshold ({self.threshold}) must be in [0, 1]; margin ({self.margin}), contrast ({self.contrast}) and uniform "
                f"({self.uniform}) must not be negative"
            )


def sharpened(probabilities: torch.Tensor) -> torch.Tensor:
    """(n, k) `p_c² / Σ_i p_ic`, normalised: surer, and without the preference for classes that are answered often.

    Examples
    --------
    >>> sharpened(torch.tensor([[0.75, 0.25], [0.25, 0.75]])).tolist()
    [[0.8999999761581421, 0.10000000149011612], [0.10000000149011612, 0.8999999761581421]]
    """
    squares = probabilities.square() / probabilities.sum(0).clamp(min=1e-10)
    return squares / squares.sum(1, keepdim=True).clamp(min=1e-30)


def certainty(probabilities: torch.Tensor) -> torch.Tensor:
    """(n,) one minus the entropy of (n, k) probabilities as a share of its largest value.

    Examples
    --------
    >>> certainty(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [1.0, 0.0]
    """
    entropy = torch.special.entr(probabilities).sum(1)
    return 1 - entropy / math.log(probabilities.shape[1])


def pairwise_contrast(hidden: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean over pairs of rows of `d²` where labels (b,) agree and `max(0, margin − d)²` where not; d² = mean squared difference (b, h).

    Examples
    --------
    >>> float(pairwise_contrast(torch.tensor([[0.0], [0.5]]), torch.tensor([0, 1]), margin=1.0))
    0.25
    >>> float(pairwise_contrast(torch.tensor([[0.0], [0.5]]), torch.tensor([1, 1]), margin=1.0))
    0.25
    """
    n = len(hidden)
    one, other = torch.triu_indices(n, n, offset=1)
    if len(one) == 0:
        return hidden.sum() * 0
    squares = (hidden[one] - hidden[other]).square().mean(1)
    apart = functional.relu(margin - squares.clamp(min=1e-12).sqrt()).square()
    return torch.where(labels[one] == labels[other], squares, apart).mean()
