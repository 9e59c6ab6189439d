"""The published preference losses as functions of log-probabilities of a chosen and a rejected text; `preference.prefer` trains with them.

DPO: Rafailov et al. 2023, "Direct preference optimization". SimPO: Meng et al. 2024, "SimPO". ORPO: Hong et al. 2024, "ORPO". KTO:
Ethayarajh et al. 2024, "KTO".
"""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

BETAS = {"dpo": 0.1, "simpo": 2.0, "orpo": 0.1, "kto": 0.1}
"""The published strength of each method."""


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float = 0.1,
) -> torch.Tensor:
    """Return `-log sigma(beta [(log p(c) - log p_ref(c)) - (log p(r) - log p_ref(r))])` of each pair.

    Parameters
    ----------
    chosen, rejected, reference_chosen, reference_rejected
        (n,) log-probabilities summed over each text's tokens, under the policy and under the frozen reference.
    beta
        How strongly the policy is held to the reference.

    Returns
    -------
    (n,) losses, log 2 where policy and reference agree.

    Examples
    --------
    >>> zero = torch.zeros(1)
    >>> dpo_loss(zero, zero, zero, zero)
    tensor([0.6931])
    """
    return -logsigmoid(beta * ((chosen - reference_chosen) - (rejected - reference_rejected)))


def simpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    chosen_lengths: torch.Tensor,
    rejected_lengths: torch.Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
) -> torch.Tensor:
    """Return `-log sigma(beta (log p(c) / |c| - log p(r) / |r|) - gamma)` of each pair; no reference.

    Parameters
    ----------
    chosen, rejected
        (n,) log-probabilities summed over each text's tokens.
    chosen_lengths, rejected_lengths
        (n,) numbers of these tokens.
    beta, gamma
        Scale of the mean log-probabilities, and the margin by which the chosen text should win.

    Examples
    --------
    >>> loss = simpo_loss(torch.tensor([-2.0]), torch.tensor([-6.0]), torch.tensor([2]), torch.tensor([4]))
    >>> torch.equal(loss, -logsigmoid(torch.tensor([2 * (-1.0 + 1.5) - 1.0])))
    True
    """
    return -logsigmoid(beta * (chosen / chosen_lengths - rejected / rejected_lengths) - gamma)


def orpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    chosen_lengths: torch.Tensor,
    rejected_lengths: torch.Tensor,
    *,
    beta: float = 0.1,
) -> torch.Tensor:
    """Return `-log P(c) - beta log sigma(log odds(P(c)) - log odds(P(r)))` of each pair, with `P = exp(log p / length)`; no reference.

    Parameters
    ----------
    chosen, rejected
        (n,) log-probabilities summed over each text's tokens.
    chosen_lengths, rejected_lengths
        (n,) numbers of these tokens.
    beta
        Weight of the odds ratio beside the fine-tuning loss (λ in the paper).

    Examples
    --------
    >>> half = torch.log(torch.tensor([0.5]))
    >>> one = torch.ones(1)
    >>> orpo_loss(half, half, one, one, beta=1.0)  # 2 log 2
    tensor([1.3863])
    """
    c, r = chosen / chosen_lengths, rejected / rejected_lengths
    log_odds = (c - r) - (_log1mexp(c) - _log1mexp(r))
    return -c - beta * logsigmoid(log_odds)


def kto_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float = 0.1,
    kl: torch.Tensor | float = 0.0,
    desirable: float = 1.0,
    undesirable: float = 1.0,
) -> torch.Tensor:
    """Return `1/2 [w_c (1 - sigma(beta (h(c) - kl))) + w_r (1 - sigma(beta (kl - h(r))))]` with `h = log p - log p_ref`.

    Each text is judged by itself against the reference point `kl`; the two halves of a pair share nothing else.

    Parameters
    ----------
    chosen, rejected, reference_chosen, reference_rejected
        (n,) log-probabilities summed over each text's tokens.
    beta
        How quickly a gain or loss saturates.
    kl
        Estimate of the divergence from the reference, at least 0 and without gradient.
    desirable, undesirable
        Weights w_c and w_r.

    Examples
    --------
    >>> zero = torch.zeros(1)
    >>> kto_loss(zero, zero, zero, zero)
    tensor([0.5000])
    """
    gain = 1 - torch.sigmoid(beta * (chosen - reference_chosen - kl))
    loss = 1 - torch.sigmoid(beta * (kl - (rejected - reference_rejected)))
    return (desirable * gain + undesirable * loss) / 2


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, accurate at both ends (Mächler 2012)."""
    below = x.clamp(max=-1e-6)
    return torch.where(below > -0.693, torch.log(-torch.expm1(below)), torch.log1p(-torch.exp(below)))
