"""ImplyLoss: each source may be wrong on a row; a second network says where it applies, learned from the rows it was written for.

Awasthi, Ghosh, Goyal and Sarawagi 2020, "Learning from Rules Generalizing Labeled Exemplars".
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn
from torch.nn import functional

from steelyard.errors import ConfigError, TrainingError
from steelyard.training.joint.base import JointOptions, JointStudent
from steelyard.training.joint.descent import Descent
from steelyard.training.joint.networks import JointNetwork
from steelyard.training.joint.rows import JointBatch, JointRows
from steelyard.votes import Votes


class ImplyLoss(JointStudent):
    """Student P(y | x) and restriction g_j(x), the chance that source j's vote holds at x; a vote that holds implies its class.

    On gold rows: the student's cross-entropy, and for every vote there: it holds where the row is the source's exemplar
    (``−log g``), not where it contradicts the label (``−log(1 − g)``), and probably where it agrees, by the noise-tolerant
    ``(1 − g^q) / q``. On all rows, for every vote: ``−γ log(1 − g_j(x)(1 − P(λ_j | x)))``, the implication.
    With votes, `predict_proba` gives ``P(c | x) Π_j (1 − g_j(x) [λ_j ≠ c])``, normalised: the same implication read as a product. (The
    paper answers with the student alone.)

    Parameters
    ----------
    gamma
        Weight γ ≥ 0 of the implication.
    q
        In (0, 1]; towards 0 agreement counts like an exemplar, towards 1 it tolerates chance.
    encoder, **options
        See `JointStudent`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y, x = rng.integers(0, 2, 400), rng.normal(size=(400, 4))
    >>> x[:, 0] += 3 * y
    >>> votes = Votes(np.where(rng.random((400, 3)) < 0.7, y[:, None], 1 - y[:, None]), classes=["a", "b"])
    >>> gold = np.where(np.arange(400) < 40, y, -1)
    >>> student = ImplyLoss().fit(x, votes, gold)
    >>> bool((student.predict(x) == y).mean() > 0.85)
    True
    """

    needs_gold: ClassVar[bool] = True

    def __init__(self, encoder: Any = None, *, gamma: float = 0.1, q: float = 0.2, **options: Unpack[JointOptions]) -> None:
        super().__init__(encoder, **options)
        self.gamma = gamma
        self.q = q

    def fit(self, data: Any, votes: Votes, y: ArrayLike | None = None, exemplars: ArrayLike | None = None) -> Self:  # type: ignore[override]
        """Learn from n rows, the votes on them, gold labels of some, and the rows that sources were written for.

        Parameters
        ----------
        data, votes, y
            See `JointStudent.fit`; gold labels are needed.
        exemplars : (m,) int array, optional
            For each source the row whose label it was made from, -1 = none. The row must have a gold label that the source votes for.

        Raises
        ------
        ConfigError, TrainingError
            As `JointStudent.fit`, and where an exemplar has no gold label or its source votes otherwise there.
        """
        rows = np.full(getattr(votes, "n_sources", 0), -1) if exemplars is None else np.asarray(exemplars)
        return self._fit(data, votes, y, exemplars=rows)

    def _network(self, d: int, m: int, k: int) -> JointNetwork:
        return _Network(d, m, k, self.hidden, self.dropout)

    def _learn(self, network: Any, rows: JointRows, descent: Descent, **further: Any) -> None:
        exemplars = _checked_exemplars(further["exemplars"], rows)

        def loss(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            batch, gold = rows.batch(index), rows.some_labelled(self.batch_size)
            logits = network.student(gold.features)
            right = gold.ballots[torch.arange(len(gold.gold)), :, gold.gold] > 0
            exemplar = exemplars == gold.rows[:, None]
            terms = {
                "student": functional.cross_entropy(logits, gold.gold),
                "restriction": restriction_loss(network.holds(gold), gold.fires, right, exemplar, self.q),
                "implication": implication_loss(network.holds(batch), batch, network.student(batch.features).softmax(-1)),
            }
            return terms["student"] + terms["restriction"] + self.gamma * terms["implication"], terms

        descent.run(network, torch.arange(len(rows)), loss, "both", judge=True)

    def _with_votes(self, network: Any, batch: JointBatch) -> torch.Tensor:
        holds = (network.holds(batch) * batch.strength)[:, :, None]
        survives = (1 - holds * (batch.ballots == 0)).clamp(min=1e-10).log().sum(1)
        return (network.student(batch.features).log_softmax(-1) + survives).softmax(-1)

    def _check_options(self) -> None:
        super()._check_options()
        if self.gamma < 0 or not 0.0 < self.q <= 1.0:
            raise ConfigError(f"ImplyLoss: gamma ({self.gamma}) must not be negative and q ({self.q}) must be in (0, 1]")


def restriction_loss(holds: torch.Tensor, fires: torch.Tensor, right: torch.Tensor, exemplar: torch.Tensor, q: float) -> torch.Tensor:
    """Mean over exemplars of `−log g`, plus over contradicting votes of `−log(1 − g)`, plus over agreeing ones of `(1 − g^q) / q`.

    Parameters
    ----------
    holds
        (b, m) g in (0, 1).
    fires, right, exemplar
        (b, m) which sources vote, for a class that is the gold label, on the row they were made from.

    Examples
    --------
    >>> yes, no = torch.tensor([[True]]), torch.tensor([[False]])
    >>> float(restriction_loss(torch.tensor([[0.25]]), yes, yes, no, q=0.5))
    1.0
    """
    g = holds.clamp(1e-6, 1 - 1e-6)

    def mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        return (values * where).sum() / where.sum().clamp(min=1)

    agreeing = fires & right & ~exemplar
    return mean(-g.log(), fires & exemplar) + mean(-(-g).log1p(), fires & ~right) + mean((1 - g**q) / q, agreeing)


def implication_loss(holds: torch.Tensor, batch: JointBatch, probabilities: torch.Tensor) -> torch.Tensor:
    """Mean over the votes, weighted by their strength, of `−log(1 − g_j(x)(1 − P(λ_j | x)))`, with g (b, m) and P (b, k)."""
    implied = torch.einsum("bk,bmk->bm", probabilities, (batch.ballots > 0).float())
    each = -(1 - holds * (1 - implied)).clamp(min=1e-10).log() * batch.strength
    return each.sum() / batch.strength.sum().clamp(min=1e-6)


def _checked_exemplars(exemplars: NDArray[Any], rows: JointRows) -> torch.Tensor:
    votes = rows.votes
    if exemplars.shape != (votes.n_sources,) or exemplars.dtype.kind not in "iu":
        raise TrainingError(f"ImplyLoss: exemplars must name one row (or -1) for each of the {votes.n_sources} sources")
    position = {int(row): at for at, row in enumerate(rows.ids.tolist())}
    for j in np.flatnonzero(exemplars >= 0):
        at = position.get(int(exemplars[j]), -1)
        gold, code = (-1, -1) if at < 0 else (int(rows.gold[at]), int(votes.csr[[at]].toarray()[0, j]) - 1)
        if gold < 0 or code < 0 or not votes.support[code, gold]:
            raise TrainingError(
                f"ImplyLoss: row {exemplars[j]} is no exemplar of source '{votes.sources[j]}': it needs a gold label that the source votes "
                "for there (and must not be held out by early_stopping)"
            )
    return torch.from_numpy(exemplars.astype(np.int64))


class _Network(JointNetwork):
    def __init__(self, d: int, m: int, k: int, hidden: int, dropout: float) -> None:
        super().__init__(d, hidden, k, dropout)
        self.row = nn.Linear(d, hidden)
        self.source = nn.Embedding(m, hidden)
        self.restriction = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def holds(self, batch: JointBatch) -> torch.Tensor:
        """(b, m) g where a source votes, 0 elsewhere: nothing depends on it there, so only votes are computed."""
        row, source = torch.nonzero(batch.fires, as_tuple=True)
        score = self.restriction(self.row(batch.features)[row] + self.source(source))[:, 0]
        return torch.zeros(batch.fires.shape).index_put((row, source), score.sigmoid())
