"""Dynamic loss-based reweighting: each sample counts by its current loss within the global batch; redundant samples are turned down.

Sow, Woisetschläger, Bulusu, Wang, Jacobsen, Liang 2025, "Dynamic Loss-Based Sample Reweighting for Improved Large Language Model
Pretraining". No further model, no state per sample; M exponentials a step. Weighted SGD gains over uniform where the weights go with how
far samples are from learned and none exceeds 2/M: so low losses are turned down and high ones capped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import distributed, nn
from torch.nn import functional

from steelyard.errors import ConfigError
from steelyard.training.objectives.objective import Objective
from steelyard.training.objectives.token_weighted import SampleLosses, sequence_losses

Strategy = Literal["linupper", "quadratic", "extremes", "linear", "uniform"]
PerSample = Callable[[torch.Tensor, torch.Tensor], "SampleLosses | torch.Tensor"]

STRATEGIES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "linupper": lambda h, delta: (h + delta).clamp(max=delta),
    "quadratic": lambda h, delta: 1 - h.square() / delta**2,
    "extremes": lambda h, delta: h.abs(),
    "linear": lambda h, delta: (h + delta) / 2,
    "uniform": lambda h, delta: torch.zeros_like(h),
}
"""Merit f(h, δ) of a normalised loss h in [−δ, δ]. The authors call linear "upper" in their small-scale code, linupper in the large."""

_SMALLEST_RANGE = 1e-6
_SMALLEST_BATCH = 4


def loss_weights(
    losses: torch.Tensor,
    strategy: Strategy | Callable[[torch.Tensor], torch.Tensor] = "linupper",
    *,
    temperature: float = 0.4,
    delta: float = 1.0,
    max_weight: float | None = None,
    sizes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return M·w_i with w = softmax(f(h) / r): the maximiser of `Σ w_i f_i − r KL(w ‖ uniform)`, scaled to a mean of 1.

    Parameters
    ----------
    losses
        (M,) current losses of the whole batch, any scale. `h = 2δ l / (max − min) − δ (max + min) / (max − min)`.
    strategy
        One of `STRATEGIES`, or a function from h (M,) to merits (M,).
    temperature
        r > 0: the larger, the more even.
    delta
        Half the range of h.
    max_weight
        Largest M·w_i, above 1: the nearest weights (in KL) under the cap. 2 is what the theory asks for.
    sizes
        (M,) tokens per sample where lengths differ: weights are multiplied by them and made to a mean of 1 again.

    Returns
    -------
    (M,) float, non-negative, mean 1; without gradient. All 1 where the losses are all equal.

    Examples
    --------
    >>> [round(weight, 3) for weight in loss_weights(torch.tensor([1.0, 2.0, 3.0]), temperature=1.0).tolist()]
    [0.466, 1.267, 1.267]
    >>> loss_weights(torch.tensor([1.0, 2.0, 3.0]), lambda h: -h, temperature=1.0).argmax()
    tensor(0)
    """
    losses = losses.detach().float()
    low, high = losses.min(), losses.max()
    if high - low < _SMALLEST_RANGE:
        merit = torch.zeros_like(losses)
    else:
        h = delta * (2 * losses - high - low) / (high - low)
        merit = strategy(h) if callable(strategy) else STRATEGIES[strategy](h, delta)
    odds = ((merit - merit.max()) / temperature).exp()
    if sizes is not None:
        odds = odds * sizes
    weights = odds / odds.mean()
    return weights if max_weight is None else _capped(weights, max_weight)


class LossReweighter(nn.Module):
    """Weights of the samples of each step, over the samples of all processes and of all batches that are accumulated into the step.

    Parameters
    ----------
    strategy
        "linupper" (low losses down, the harder half equal), "quadratic" (both ends down: where noise dominates), "extremes" (both ends up,
        the control), "linear", "uniform", or a function of the normalised losses.
    temperature
        r: 1 is safe, 0.4 stronger. A pair (start, end) falls geometrically from the end of the warm-up to the end of training.
    warmup
        Share of training in [0, 1) in which all weights are 1. The published runs took 5 to 10 %; take at least 100 steps.
    delta, max_weight
        See `loss_weights`.
    by_length
        Let a sample count by its tokens as well, where lengths differ.
    group
        Process group over which losses are gathered; the default group where one is initialised.

    Attributes
    ----------
    log
        Of the last call: effective sample size `1/Σw²` as a share of M, largest M·w, least and greatest loss, mean loss of the tenth with
        the least and with the greatest weights, samples dropped so far because their loss was no number.

    Raises
    ------
    ConfigError
        A parameter is out of range.

    Examples
    --------
    >>> reweighter = LossReweighter(warmup=0.1)
    >>> losses = torch.tensor([0.1, 2.0, 2.2, 2.4, 2.6])
    >>> reweighter(losses, progress=0.05)
    tensor([1., 1., 1., 1., 1.])
    >>> bool(reweighter(losses, progress=0.5)[0] < 0.2)
    True
    """

    def __init__(
        self,
        strategy: Strategy | Callable[[torch.Tensor], torch.Tensor] = "linupper",
        *,
        temperature: float | tuple[float, float] = 0.4,
        warmup: float = 0.05,
        delta: float = 1.0,
        max_weight: float | None = None,
        by_length: bool = False,
        group: Any = None,
    ) -> None:
        super().__init__()
        if not callable(strategy) and strategy not in STRATEGIES:
            raise ConfigError(f"LossReweighter: strategy is '{strategy}'; use {', '.join(map(repr, STRATEGIES))} or a function")
        ends = temperature if isinstance(temperature, tuple) else (temperature, temperature)
        if len(ends) != 2 or min(ends) <= 0 or delta <= 0 or not 0.0 <= warmup < 1.0:
            raise ConfigError(
                f"LossReweighter: temperature ({temperature}) and delta ({delta}) must be positive, warmup ({warmup}) a share in [0, 1)"
            )
        if max_weight is not None and max_weight <= 1:
            raise ConfigError(f"LossReweighter: max_weight is {max_weight}; it caps weights whose mean is 1, so it must be above 1")
        self.strategy = strategy
        self.ends = ends
        self.warmup = warmup
        self.delta = delta
        self.max_weight = max_weight
        self.by_length = by_length
        self.group = group
        self.log: dict[str, torch.Tensor] = {}
        self.dropped = 0
        self._step: float | None = None
        self._earlier: list[torch.Tensor] = []

    def temperature_at(self, progress: float) -> float:
        """Return r after this share of training; infinite during the warm-up.

        Examples
        --------
        >>> [LossReweighter(temperature=(4.0, 1.0), warmup=0.2).temperature_at(p) for p in (0.1, 0.2, 0.6, 1.0)]
        [inf, 4.0, 2.0, 1.0]
        """
        if progress < self.warmup:
            return float("inf")
        passed = (progress - self.warmup) / (1 - self.warmup)
        return float(self.ends[0] * (self.ends[1] / self.ends[0]) ** passed)

    def forward(self, losses: torch.Tensor, sizes: torch.Tensor | None = None, *, progress: float | None = None) -> torch.Tensor:
        """Return weights v (n,) of this process's samples: the loss to minimise is `mean_i v_i l_i`, which trainers average over processes.

        Over all M samples of the step, `mean v l = Σ w l` with Σ w = 1, so the learning rate needs no change.

        Parameters
        ----------
        losses
            (n,) current losses; only their values are used.
        sizes
            (n,) tokens of each sample; a sample of size 0 gets weight 0 and does not count in M.
        progress
            Share of training done. Calls with the same one are batches accumulated into one step: each is weighed among those before it
            too, which approximates weighing all at once without a second forward pass. Left out: after training, each call on its own.
        """
        values = losses.detach().float()
        size = torch.ones_like(values) if sizes is None else sizes.to(values)
        everyone, ours = _gathered(torch.stack([values, size]), self.group)
        finite = everyone[0].isfinite()
        self.dropped += int((~finite).sum())
        learned = finite & (everyone[1] > 0)
        if progress is None or progress != self._step:
            self._step, self._earlier = progress, []
        pool = torch.cat([*self._earlier, everyone[:, learned]], dim=1)
        if progress is not None:
            self._earlier.append(everyone[:, learned])
        weights = torch.zeros_like(everyone[0])
        found = self._weights(pool, 1.0 if progress is None else progress)
        kept = int(learned.sum())
        weights[learned] = found[len(found) - kept :]
        self._record(pool[0], found)
        # The mean over this process's n samples, averaged over W processes, is to be the mean over the samples that learn.
        processes = distributed.get_world_size(self.group) if _is_distributed() else 1
        return weights[ours] * (processes * len(losses) / max(kept, 1))

    def _weights(self, pool: torch.Tensor, progress: float) -> torch.Tensor:
        temperature = self.temperature_at(progress)
        if pool.shape[1] < _SMALLEST_BATCH and temperature != float("inf"):
            warnings.warn(
                f"{pool.shape[1]} samples are too few to weigh by their losses; they count alike (give at least {_SMALLEST_BATCH})",
                stacklevel=3,
            )
            temperature = float("inf")
        sizes = pool[1] if self.by_length else None
        if temperature == float("inf") or pool.shape[1] == 0:
            return torch.ones_like(pool[0]) if sizes is None else sizes / sizes.mean()
        return loss_weights(pool[0], self.strategy, temperature=temperature, delta=self.delta, max_weight=self.max_weight, sizes=sizes)

    def _record(self, losses: torch.Tensor, weights: torch.Tensor) -> None:
        if len(losses) == 0:
            return
        tenth, order = max(1, len(losses) // 10), weights.argsort(stable=True)
        self.log = {
            "ess": weights.sum().square() / weights.square().sum() / len(weights),
            "max_weight": weights.max(),
            "loss_min": losses.min(),
            "loss_max": losses.max(),
            "loss_lightest": losses[order[:tenth]].mean(),
            "loss_heaviest": losses[order[-tenth:]].mean(),
            "dropped": torch.tensor(float(self.dropped)),
        }

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        name = self.strategy if isinstance(self.strategy, str) else getattr(self.strategy, "__qualname__", repr(self.strategy))
        shown = f"strategy={name}, temperature={self.ends}, warmup={self.warmup}, delta={self.delta}"
        return f"{shown}, max_weight={self.max_weight}, by_length={self.by_length}"


class ReweightedLoss(Objective):
    """`mean_i v_i l_i` with the weights of a `LossReweighter`: any loss per sample, of language models, classifiers or pairs.

    Parameters
    ----------
    reweighter
        Where the weights come from; `LossReweighter()` when left out.
    losses
        Function of (logits, targets) that returns losses (n,) or `SampleLosses`; `sequence_losses`, the mean token loss of each sequence,
        when left out, and `soft_label_losses` for classifiers. A sample whose loss is no finite number is left out and counted.

    Examples
    --------
    >>> objective = ReweightedLoss(LossReweighter(warmup=0), soft_label_losses)
    >>> logits = torch.tensor([[4.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
    >>> targets = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    >>> loss = objective(logits, targets, progress=0.5)
    >>> bool(loss > soft_label_losses(logits, targets).mean()), round(float(objective.log["max_weight"]), 2)
    (True, 2.51)
    """

    def __init__(self, reweighter: LossReweighter | None = None, losses: PerSample = sequence_losses) -> None:
        super().__init__()
        self.reweighter = reweighter if reweighter is not None else LossReweighter()
        self.losses = losses

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None, **batch: Any) -> torch.Tensor:
        """Return the loss; given `weights` (n,) multiply those of the reweighter."""
        found = self.losses(logits, targets)
        losses, sizes = found if isinstance(found, SampleLosses) else (found, None)
        ours = self.reweighter(losses, sizes, progress=batch.get("progress")).to(losses.dtype)
        losses = torch.where(losses.isfinite(), losses, 0.0)
        loss = (ours * losses).mean() if weights is None else (weights * ours * losses).mean()
        self.record(loss_unweighted=losses.mean(), **self.reweighter.log)
        return loss

    def extra_repr(self) -> str:
        """The parameters, as the printed module shows them."""
        return f"losses={getattr(self.losses, '__qualname__', repr(self.losses))}"


def soft_label_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy (n,) of logits (n, k) with probabilistic targets (n, k).

    Examples
    --------
    >>> soft_label_losses(torch.zeros(1, 2), torch.tensor([[0.3, 0.7]]))
    tensor([0.6931])
    """
    return functional.cross_entropy(logits.float(), targets.float(), reduction="none")


def _capped(weights: torch.Tensor, cap: float) -> torch.Tensor:
    """The weights of mean 1 and at most `cap` that are nearest in KL: the k largest are cut, the others share what is left over.

    k is the least number for which no other is over the cap then: `s_k = (M − k·cap) / Σ_{i>k} w_i`, `s_k w_{k+1} ≤ cap`.
    """
    count = len(weights)
    ordered, _ = weights.sort(descending=True)
    rest = ordered.sum() - ordered.cumsum(0) + ordered  # Σ_{i ≥ k}, what is left when k are cut
    scale = (count - cap * torch.arange(count, device=weights.device)) / rest.clamp(min=torch.finfo(rest.dtype).tiny)
    fits = (scale * ordered <= cap) & (scale > 0)
    # Where the weights under the cap are all zero nothing can take what is cut: then those that are left count alike.
    if not bool(fits.any()):
        return torch.ones_like(weights)
    return (weights * scale[int(fits.int().argmax())]).clamp(max=cap)


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _gathered(rows: torch.Tensor, group: Any) -> tuple[torch.Tensor, slice]:
    """The columns (2, M) of all processes, in the order of their ranks, and which of them are this one's."""
    if not _is_distributed() or distributed.get_world_size(group) == 1:
        return rows, slice(None)
    processes, rank = distributed.get_world_size(group), distributed.get_rank(group)
    count = torch.tensor([rows.shape[1]], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(processes)]
    distributed.all_gather(counts, count, group=group)
    sizes = [int(size) for size in counts]
    # Processes may hold batches of different sizes; what is gathered must not.
    padded = functional.pad(rows, (0, max(sizes) - rows.shape[1]))
    parts = [torch.zeros_like(padded) for _ in range(processes)]
    distributed.all_gather(parts, padded, group=group)
    start = sum(sizes[:rank])
    return torch.cat([part[:, :size] for part, size in zip(parts, sizes, strict=True)], dim=1), slice(start, start + sizes[rank])
