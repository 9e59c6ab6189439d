"""One fitted model of verifiers: P(a response is right | their votes), from rates given the class, or a linear score without votes.

Saad-Falcon et al. 2025, "Shrinking the Generation-Verification Gap with Weak Verifiers".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.label_models.base import LabelModel
from steelyard.label_models.dawid_skene import DawidSkene
from steelyard.label_models.metal import MeTaL
from steelyard.label_models.triplet import TripletModel
from steelyard.label_models.verifier_habits import CLASSES
from steelyard.label_models.verifier_moments import linear_weights
from steelyard.label_models.verifier_options import Model
from steelyard.label_models.verifier_steps import LOWEST
from steelyard.votes import Votes

Floats = NDArray[np.float64]
Told = NDArray[np.float64] | NDArray[np.int8]
"""(n, V) scaled scores; where only votes are weighed the votes will do."""


_SOFT = 1e-3


@dataclass(frozen=True, eq=False)
class VerifierRates:
    """What was learned of V verifiers.

    Attributes
    ----------
    tpr, fpr : (V,) float64
        P(yes | right) and P(yes | wrong).
    weights : (V,) float64
        Log odds ratio of a yes, or the weight of the score.
    model : LabelModel or None
        None for "continuous".
    intercept : float
        Of the linear score.
    flipped : bool
        Whether "right" is what the model calls wrong.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> right = rng.random(20_000) < 0.4
    >>> votes = (rng.random((20_000, 4)) < np.where(right[:, None], [0.9, 0.8, 0.8, 0.7], [0.2, 0.1, 0.3, 0.4])).astype(np.int8)
    >>> VerifierRates.learn(votes, votes, "dawid-skene", 0.4).tpr.round(1).tolist()
    [0.9, 0.8, 0.8, 0.7]
    """

    tpr: Floats
    fpr: Floats
    weights: Floats
    model: LabelModel | None
    intercept: float = 0.0
    flipped: bool = False

    @staticmethod
    def learn(
        votes: NDArray[np.int8],
        scaled: Told,
        kind: Model,
        balance: float,
        pairs: list[list[int]] | None = None,
        flipped: bool | None = None,
    ) -> VerifierRates:
        """Fit to votes (n, V) or, if continuous, to scaled scores (n, V).

        `pairs` are dependent verifiers, which `MeTaL` then models. With `flipped` given, which class is right is not asked again.
        """
        if kind == "continuous":
            weights = linear_weights(scaled, balance)
            intercept = float(balance - scaled.mean(axis=0) @ weights)
            right = np.clip(scaled @ weights + intercept, 0, 1)
            tpr, fpr = (votes.T @ w / w.sum() for w in (right, 1 - right))
            return VerifierRates(tpr, fpr, weights, None, intercept)
        prior = [1 - balance, balance]
        models = {"dawid-skene": DawidSkene, "metal": MeTaL, "triplet": TripletModel}
        model = MeTaL(class_prior=prior, dependencies=pairs) if pairs else models[kind](class_prior=prior)
        model.fit(Votes(votes, classes=CLASSES))
        tpr, fpr = model.confusions_[:, 1, 1].copy(), model.confusions_[:, 0, 1].copy()
        # Most verifiers are better than chance: otherwise "right" is what the model calls wrong.
        if flipped is None:
            flipped = bool((tpr - fpr).sum() < 0)
        if flipped:
            tpr, fpr = fpr, tpr
        t, f = tpr.clip(LOWEST, 1 - LOWEST), fpr.clip(LOWEST, 1 - LOWEST)
        return VerifierRates(tpr, fpr, np.log(t / (1 - t)) - np.log(f / (1 - f)), model, flipped=flipped)

    def right(self, votes: NDArray[np.int8], scaled: Told) -> Floats:
        """(n,) P(right)."""
        if self.model is None:
            return np.clip(scaled @ self.weights + self.intercept, 0, 1)
        found = self.model.predict_proba(Votes(votes, classes=CLASSES))[:, 1].astype(np.float64)
        return 1 - found if self.flipped else found

    def softened(self, probability: Floats, scaled: Told) -> Floats:
        """(n,) P(right) in which, among equal votes, the weighted mean score decides; it moves the log odds by less than any vote does."""
        p = np.clip(probability, 1e-6, 1 - 1e-6)
        told = scaled @ self.weights / max(float(np.abs(self.weights).sum()), 1e-12)
        return np.asarray(1 / (1 + np.exp(-(np.log(p / (1 - p)) + _SOFT * told))))
