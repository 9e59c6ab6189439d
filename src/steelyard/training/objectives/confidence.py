"""The confidence loss: imitate the weak labels, and increasingly trust one's own hardened prediction where it disagrees with them.

Burns et al. 2023, "Weak-to-strong generalization", appendix A.4. The hardening is what makes it work: at a threshold that adapts to each
batch so that the student predicts every class as often as the weak labels do; a fixed one, or argmax, collapses into one class.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.nn import functional

from steelyard.errors import ConfigError, TrainingError
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.soft_cross_entropy import soft_cross_entropy


class ConfidenceLoss(Objective):
    """`(1 − a) CE(q, f) + a CE(h, f)`: q the weak labels, f the student, h its own hardened prediction (no gradient flows into h).

    Parameters
    ----------
    alpha
        Largest weight a in [0, 1) of the student's own prediction; 0.5, or 0.75 for a student far stronger than its supervisor.
    warmup
        Share of training in [0, 1) in which a rises.
    ramp
        `"linear"`: `a = alpha · min(progress / warmup, 1)`. `"official"`: as the authors' code computes it, `a = alpha · progress` before
        the end of the warm-up and `alpha` after (use it with their `warmup=0.1`).
    harden
        `"prior"`: each class as often as the weak labels of the batch say. Two classes are cut at the quantile
        `t = quantile(f_0, mean(q_1))`, more are balanced by `rounds` of Sinkhorn's iteration before the argmax. `"argmax"`: plain argmax,
        which with many classes collapses; there for comparison.
    rounds
        Rounds of the iteration, 3 to 5.

    Raises
    ------
    ConfigError
        A parameter is out of range.
    TrainingError
        From `forward`: the targets have one class, for which there is no threshold.

    Examples
    --------
    >>> loss = ConfidenceLoss(alpha=0.5, warmup=0.2)
    >>> logits, targets = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    >>> [round(float(loss(logits, targets, progress=p)), 4) for p in (0.0, 0.1, 0.2)]
    [0.7701, 0.7576, 0.7451]
    >>> {name: round(float(value), 2) for name, value in loss.log.items()}
    {'cross_entropy': 0.77, 'self_training': 0.72, 'alpha': 0.5, 'overruled': 0.0}
    """

    def __init__(
        self,
        alpha: float = 0.5,
        *,
        warmup: float = 0.2,
        ramp: Literal["linear", "official"] = "linear",
        harden: Literal["prior", "argmax"] = "prior",
        rounds: int = 4,
    ) -> None:
        super().__init__()
        if not 0.0 <= alpha < 1.0 or not 0.0 <= warmup < 1.0 or rounds < 1:
            raise ConfigError(f"ConfidenceLoss: alpha ({alpha}) and warmup ({warmup}) must be in [0, 1), rounds ({rounds}) at least 1")
        if ramp not in ("linear", "official") or harden not in ("prior", "argmax"):
            raise ConfigError(
                f"ConfidenceLoss: ramp '{ramp}' must be 'linear' or 'official', harden '{harden}' must be 'prior' or 'argmax'"
            )
        self.alpha = alpha
        self.warmup = warmup
        self.ramp = ramp
        self.harden = harden
        self.rounds = rounds

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss of logits (n, k) against weak labels (n, k); `progress` in [0, 1) moves the ramp (left out: its end).

        A batch of one row, which has no threshold, gets the cross-entropy alone.
        """
        if targets.shape[1] < 2:
            raise TrainingError("ConfidenceLoss: the weak labels have one class, so there is no threshold to harden at; give two or more")
        imitation = soft_cross_entropy(logits, targets, weights)
        alpha = self.alpha_at(float(batch.get("progress", 1.0))) if len(logits) > 1 else 0.0
        own = self.hardened(logits.detach().float().softmax(-1), targets.float())
        trust = soft_cross_entropy(logits, functional.one_hot(own, targets.shape[1]).to(targets.dtype), weights)
        self.record(
            cross_entropy=imitation,
            self_training=trust,
            alpha=torch.tensor(alpha),
            overruled=(own != targets.argmax(-1)).float().mean(),
        )
        return (1 - alpha) * imitation + alpha * trust

    def alpha_at(self, progress: float) -> float:
        """Weight of the student's own prediction after this share of training.

        Examples
        --------
        >>> ConfidenceLoss(0.5, warmup=0.2).alpha_at(0.1), ConfidenceLoss(0.5, warmup=0.2, ramp="official").alpha_at(0.1)
        (0.25, 0.05)
        """
        if progress >= self.warmup:
            return self.alpha
        return self.alpha * (progress if self.ramp == "official" else progress / self.warmup)

    def hardened(self, probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(n,) classes of the student's probabilities (n, k), each about as often as in the targets (n, k).

        Examples
        --------
        >>> sure_of_the_first = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
        >>> ConfidenceLoss().hardened(sure_of_the_first, torch.tensor([[0.5, 0.5]] * 4))
        tensor([0, 0, 1, 1])
        """
        if self.harden == "argmax":
            return probabilities.argmax(-1)
        prior = targets.mean(0)
        if len(prior) > 2:
            return balanced(probabilities, prior, self.rounds).argmax(-1)
        first = probabilities[:, 0]
        return (first < torch.quantile(first, prior[1].clamp(0, 1))).long()

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"alpha={self.alpha}, warmup={self.warmup}, ramp={self.ramp!r}, harden={self.harden!r}, rounds={self.rounds}"


def balanced(probabilities: torch.Tensor, prior: torch.Tensor, rounds: int) -> torch.Tensor:
    """Rounds of Sinkhorn's iteration: the columns of (n, k) probabilities scaled to means `prior` (k,), then the rows to 1.

    Examples
    --------
    >>> balanced(torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([0.5, 0.5]), rounds=20).mean(0)
    tensor([0.5000, 0.5000])
    """
    for _ in range(rounds):
        probabilities = probabilities * (prior / probabilities.mean(0).clamp(min=1e-30))
        probabilities = probabilities / probabilities.sum(1, keepdim=True).clamp(min=1e-30)
    return probabilities
