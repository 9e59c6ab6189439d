"""ASTRA: a student, and a teacher that weighs sources and student row by row; each learns from the other, both from a few gold rows.

Karamanolakis, Mukherjee, Zheng and Awadallah 2021, "Self-Training with Weak Supervision".
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import nn
from torch.nn import functional

from steelyard.errors import ConfigError
from steelyard.training.joint.base import JointOptions, JointStudent
from steelyard.training.joint.descent import Descent
from steelyard.training.joint.networks import JointNetwork
from steelyard.training.joint.rows import JointBatch, JointRows, with_gold
from steelyard.training.objectives import soft_cross_entropy


class ASTRA(JointStudent):
    """Self-training with a rule attention teacher.

    The teacher sees the student's hidden layer and answers ``q = (Σ_j a_j [λ_j = c] + a_S p_c + a_u / k) / (|R| + 1)``, with attention
    a in (0, 1) to each of the |R| sources that vote and to the student's own answer p, and the rest of |R| + 1 to the uniform distribution.
    Where all sources are silent it answers from the student and the uniform distribution. Training:

    1. the student learns the gold rows;
    2. in each round the teacher minimises its cross-entropy on gold rows plus the entropy of its answers on all rows, then the student
       its cross-entropy with the teacher's answers on all rows, gold labels in their place. (The paper's student meets the gold rows
       once more afterwards; without a development set to stop by, that forgets what the teacher taught.)

    With votes, `predict_proba` gives the teacher's answer.

    Parameters
    ----------
    rounds
        How often teacher and student take turns, at least 1.
    encoder, **options
        See `JointStudent`; `epochs` is the length of each turn.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y, x = rng.integers(0, 2, 400), rng.normal(size=(400, 4))
    >>> x[:, 0] += 3 * y
    >>> from steelyard import Votes
    >>> votes = Votes(np.where(rng.random((400, 3)) < 0.7, y[:, None], 1 - y[:, None]), classes=["a", "b"])
    >>> student = ASTRA(rounds=2).fit(x, votes, np.where(np.arange(400) < 20, y, -1))
    >>> bool((student.predict(x) == y).mean() > 0.85)
    True
    """

    needs_gold: ClassVar[bool] = True

    def __init__(self, encoder: Any = None, *, rounds: int = 3, **options: Unpack[JointOptions]) -> None:
        super().__init__(encoder, **options)
        self.rounds = rounds

    def _network(self, d: int, m: int, k: int) -> JointNetwork:
        return _Network(d, m, k, self.hidden, self.dropout)

    def _learn(self, network: Any, rows: JointRows, descent: Descent, **further: Any) -> None:
        student, everything = network.student, torch.arange(len(rows))
        taught = torch.zeros_like(rows.shares)

        def on_gold(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss = functional.cross_entropy(student(rows.features[index]), rows.gold[index])
            return loss, {"gold": loss}

        def teach(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            gold, answers = rows.some_labelled(self.batch_size), network.teach(rows.batch(index))
            terms = {
                "gold": functional.nll_loss(network.teach(gold).clamp(min=1e-10).log(), gold.gold),
                "entropy": torch.special.entr(answers).sum(1).mean(),
            }
            return terms["gold"] + terms["entropy"], terms

        def follow(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss = soft_cross_entropy(student(rows.features[index]), taught[index])
            return loss, {"teacher": loss}

        # As many steps on the few gold rows as on all rows later, or the first teacher listens to a student that knows nothing.
        few = rows.labelled
        descent.run(student, few.repeat(-(-len(rows) // len(few)))[: max(len(rows), len(few))], on_gold, "gold", judge=True)
        for turn in range(1, self.rounds + 1):
            descent.run(network.teacher, everything, teach, f"teacher {turn}")
            with torch.no_grad():
                taught.copy_(torch.cat([with_gold(network.teach(part), part.gold) for part in rows.chunks()]))
            descent.run(student, everything, follow, f"student {turn}", judge=True)
            if descent.stopped:
                break

    def _with_votes(self, network: Any, batch: JointBatch) -> torch.Tensor:
        return network.teach(batch)  # type: ignore[no-any-return]

    def _check_options(self) -> None:
        super()._check_options()
        if self.rounds < 1:
            raise ConfigError(f"ASTRA: rounds is {self.rounds}; it must be at least 1")


def rule_attention(
    attention: torch.Tensor, to_student: torch.Tensor, ballots: torch.Tensor, strength: torch.Tensor, answers: torch.Tensor
) -> torch.Tensor:
    """(b, k) what the teacher answers; rows sum to 1.

    Parameters
    ----------
    attention
        (b, m) in (0, 1), to each source.
    to_student
        (b, 1) in (0, 1), to the student's answers (b, k).
    ballots, strength
        (b, m, k) and (b, m), see `JointBatch`.

    Examples
    --------
    >>> one_vote = torch.tensor([[[1.0, 0.0]]])
    >>> rule_attention(torch.tensor([[0.5]]), torch.tensor([[0.5]]), one_vote, torch.ones(1, 1), torch.tensor([[0.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """
    voices = (strength > 0).sum(1, keepdim=True) + 1
    to_sources = attention * strength
    weighed = torch.einsum("bm,bmk->bk", to_sources, ballots) + to_student * answers
    to_uniform = voices - to_sources.sum(1, keepdim=True) - to_student
    return (weighed + to_uniform / answers.shape[1]) / voices


class _Network(JointNetwork):
    def __init__(self, d: int, m: int, k: int, hidden: int, dropout: float) -> None:
        super().__init__(d, hidden, k, dropout)
        self.teacher = nn.ModuleDict(
            {
                "embedding": nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
                "sources": nn.Linear(hidden, m),
                "student": nn.Linear(hidden, 1),
            }
        )

    def teach(self, batch: JointBatch) -> torch.Tensor:
        """(b, k) the teacher's answers; no gradient flows into the student, nor its dropout into the answers."""
        was_training = self.student.training
        with torch.no_grad():
            logits, hidden = self.student.eval().read(batch.features)
        self.student.train(was_training)
        embedded = self.teacher["embedding"](hidden)
        attention, to_student = self.teacher["sources"](embedded).sigmoid(), self.teacher["student"](embedded).sigmoid()
        return rule_attention(attention, to_student, batch.ballots, batch.strength, logits.softmax(-1))
