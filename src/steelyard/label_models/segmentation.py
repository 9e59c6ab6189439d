"""Masks of several annotators → one mask, every pixel a row of votes: majority, EM (STAPLE), intersection-over-union weights (RASA).

Lee, Das Sarma and Parameswaran, "Aggregating crowdsourced image segmentations", HCOMP 2018; Warfield, Zou and Wells, "Simultaneous truth
and performance level estimation (STAPLE)", IEEE TMI 23 (2004); Li and Fukumoto, "A dataset of crowdsourced word sequences", 2019 (RASA).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from steelyard.errors import LabelModelError
from steelyard.label_models.base import LabelModel
from steelyard.label_models.dawid_skene import DawidSkene
from steelyard.label_models.majority_vote import MajorityVote
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

Masks: TypeAlias = ArrayLike | Sequence[ArrayLike]
Floats = NDArray[np.float64]

_TIED = 1e-6


class SegmentationModel(BaseEstimator):
    """Base of the models of masks: reads images into votes per pixel, and predicted pixels back into images.

    A subclass writes ``_fit(statistics) -> LabelModel``. Since a model sees distinct vote patterns only (at most 2^A of A annotators in two
    classes), fitting costs the same for one picture and for a million.

    Attributes
    ----------
    classes_ : tuple of str
        "0" (background), "1", …
    model_ : LabelModel
        The label model whose rows are pixels and whose sources are annotators, with ``confusions_`` (A, k, k + 1) and ``accuracies_`` (A,).
    """

    def fit(self, masks: Masks, gold: Masks | None = None) -> Self:
        """Learn who can be trusted.

        Parameters
        ----------
        masks : (A, h, w) array of bool or int, or a sequence of them
            What A annotators drew on one picture, or on several of any sizes, the same annotators in the same order. 0 = background,
            1 … k - 1 = classes, -1 = not looked at (a whole mask of -1 for an annotator who never saw the picture).
        gold : (h, w) int array, or a sequence of them, optional
            Known masks, -1 where a pixel is unknown; None in the sequence for a picture of which nothing is known.

        Raises
        ------
        LabelModelError
            When shapes do not fit together.
        """
        images = _images(masks)
        known = _known(gold, images)
        k = max(2, 1 + max(int(part.max(initial=1)) for part in (*images, *(g for g in known if g is not None))))
        self.classes_ = tuple(str(c) for c in range(k))
        self.n_annotators_ = len(images[0])
        parts = [
            VoteStatistics.from_votes(self._pixels(image), None if truth is None else truth.ravel())
            for image, truth in zip(images, known, strict=True)
        ]
        self.model_ = self._fit(VoteStatistics.merge(parts))
        return self

    def _fit(self, statistics: VoteStatistics) -> LabelModel:
        raise LabelModelError(f"{type(self).__name__} does not say how it is fitted")

    def predict_proba(self, masks: Masks) -> Any:
        """Class probabilities of every pixel, (h, w, k) float32 of one picture or a list of them; what nobody looked at gets the prior."""
        shares = [self._pixel_probabilities(image) for image in self._checked(masks)]
        return shares if _are_several(masks) else shares[0]

    def predict(self, masks: Masks) -> Any:
        """One mask, (h, w) int64, of one picture or a list of them; a tie goes to the highest class: half of the votes make an object."""
        found = [_highest_best(self._pixel_probabilities(image)) for image in self._checked(masks)]
        return found if _are_several(masks) else found[0]

    def fit_predict(self, masks: Masks, gold: Masks | None = None) -> Any:
        """Fit to pictures and give their masks."""
        return self.fit(masks, gold).predict(masks)

    def _pixel_probabilities(self, image: NDArray[Any]) -> NDArray[np.float32]:
        return self.model_.predict_proba(self._pixels(image)).reshape(*image.shape[1:], len(self.classes_))

    def _pixels(self, image: NDArray[Any]) -> Votes:
        names = [f"annotator {j}" for j in range(len(image))]
        return Votes(image.reshape(len(image), -1).T, classes=self.classes_, sources=names)

    def _checked(self, masks: Masks) -> list[NDArray[Any]]:
        if not hasattr(self, "model_"):
            raise LabelModelError(f"this {type(self).__name__} is not fitted yet; call `fit` first")
        images = _images(masks)
        if len(images[0]) != self.n_annotators_:
            raise LabelModelError(f"masks of {len(images[0])} annotators do not match the {self.n_annotators_} that were fitted")
        return images


class SegmentationMajority(SegmentationModel):
    """Each pixel by (weighted) majority: the baseline for the other two.

    Parameters
    ----------
    weights : (A,) float array, optional
        Non-negative weight of each annotator; 1 when left out.

    Examples
    --------
    >>> masks = [[[1, 0], [1, 1]], [[0, 1], [1, 1]], [[0, 0], [1, 0]]]
    >>> SegmentationMajority().fit_predict(masks).tolist()
    [[0, 0], [1, 1]]
    """

    def __init__(self, weights: ArrayLike | None = None) -> None:
        self.weights = weights

    def _fit(self, statistics: VoteStatistics) -> LabelModel:
        return MajorityVote(weights=self.weights).fit(statistics)


class SegmentationEM(SegmentationModel):
    """Confusion matrix of every annotator by EM over pixels: for two classes this is STAPLE, sensitivity and specificity.

    Exactly `DawidSkene` with pixels as rows: P(class of a pixel | its votes) ∝ p_k Π_j θ_j[k, L_j]. Pixels are taken as independent.

    Parameters
    ----------
    kind : {"full", "one-coin"}
        A confusion matrix each (STAPLE), or one accuracy each.
    prior : (float, float) or None
        Pseudo-counts of right and wrong pixels, see `DawidSkene`.
    max_iter : int
    tol : float

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.zeros((3, 8, 8), int)
    >>> masks[0, 2:6, 2:6] = masks[1, 2:6, 2:6] = masks[2, 0:2, 0:8] = 1
    >>> model = SegmentationEM().fit(masks)
    >>> bool((model.predict(masks) == masks[0]).all()), model.sensitivity_.round(1).tolist()
    (True, [1.0, 1.0, 0.1])
    """

    def __init__(
        self,
        kind: Literal["full", "one-coin"] = "full",
        prior: tuple[float, float] | None = (1.0, 0.0),
        max_iter: int = 200,
        tol: float = 1e-9,
    ) -> None:
        self.kind = kind
        self.prior = prior
        self.max_iter = max_iter
        self.tol = tol

    def _fit(self, statistics: VoteStatistics) -> LabelModel:
        return DawidSkene(kind=self.kind, abstain="ignore", prior=self.prior, max_iter=self.max_iter, tol=self.tol).fit(statistics)

    @property
    def sensitivity_(self) -> Floats:
        """(A,) chance that an annotator marks a pixel of an object as some object."""
        return self._marked(np.arange(len(self.classes_)) > 0)

    @property
    def specificity_(self) -> Floats:
        """(A,) chance that an annotator leaves a pixel of the background unmarked."""
        return 1 - self._marked(np.arange(len(self.classes_)) == 0)

    def _marked(self, among: NDArray[np.bool_]) -> Floats:
        """(A,) share marked, of the pixels of some classes that the annotator looked at."""
        joint = (self.model_.confusions_ * self.model_.class_prior_[:, None])[:, among, :-1]
        return np.asarray(joint[:, :, 1:].sum(axis=(1, 2)) / joint.sum(axis=(1, 2)))


class SegmentationRASA(SegmentationModel):
    """Weighted majority whose weights follow from the overlap with the result, until the result stays the same.

    IoU_j = |mask_j ∩ consensus| / |mask_j ∪ consensus| over all objects and pictures;  w_j ∝ log(1 / (1 - IoU_j + 1e-5) + 1).
    An annotator who happens to equal the consensus gets most of the weight; more annotators and pictures make that rare.

    Parameters
    ----------
    gold_weight : float
        As how many ordinary pixels a known one counts in the overlaps.
    max_iter : int

    Attributes
    ----------
    weights_ : (A,) float64
        Sum to 1.
    ious_ : (A,) float64
        Overlap of each annotator with the consensus; 1 where both are empty.
    converged_ : bool
    n_iter_ : int

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.zeros((3, 8, 8), int)
    >>> masks[0, 2:6, 2:6] = masks[1, 2:6, 2:5] = masks[2, 0:2, 0:8] = 1
    >>> SegmentationRASA().fit(masks).weights_.round(2).tolist()
    [0.12, 0.83, 0.05]
    """

    def __init__(self, gold_weight: float = 10.0, max_iter: int = 50) -> None:
        self.gold_weight = gold_weight
        self.max_iter = max_iter

    def _fit(self, statistics: VoteStatistics) -> LabelModel:
        if self.max_iter < 1 or self.gold_weight <= 0:
            raise LabelModelError(f"max_iter ({self.max_iter}) must be at least 1 and gold_weight ({self.gold_weight}) positive")
        votes, gold = statistics.patterns, statistics.gold
        assert statistics.counts is not None
        counts = statistics.counts * np.where(gold >= 0, self.gold_weight, 1.0)
        looked = votes >= 0
        weights = np.full(statistics.n_sources, 1 / statistics.n_sources)
        before: NDArray[np.int64] | None = None
        self.converged_ = False
        self.n_iter_ = 0
        while self.n_iter_ < self.max_iter and not self.converged_:
            consensus = np.where(gold >= 0, gold, _weighted_majority(votes, weights, statistics.n_classes))
            both = (votes == consensus[:, None]) & (consensus[:, None] > 0)
            either = looked & ((votes > 0) | (consensus[:, None] > 0))
            intersection, union = counts @ both, counts @ either
            self.ious_ = np.where(union > 0, intersection / np.maximum(union, 1), 1.0)
            weights = np.log(1 / (1 - self.ious_ + 1e-5) + 1)
            weights /= weights.sum()
            self.converged_ = before is not None and bool((consensus == before).all())
            before = consensus
            self.n_iter_ += 1
        self.weights_ = weights
        return MajorityVote(weights=weights).fit(statistics)


def _weighted_majority(votes: NDArray[Any], weights: Floats, k: int) -> NDArray[np.int64]:
    """(u,) class with the greatest weight, the highest of those tied."""
    return _highest_best(np.stack([(votes == c) @ weights for c in range(k)], axis=-1))


def _highest_best(shares: NDArray[Any]) -> NDArray[np.int64]:
    """(…) class with the largest of the shares (…, k), the highest of those tied; class after class, the fast way along a short axis."""
    best = np.zeros(shares.shape[:-1], dtype=np.int64)
    top = shares[..., 0]
    for c in range(1, shares.shape[-1]):
        best[shares[..., c] >= top - _TIED] = c
        top = np.maximum(top, shares[..., c])
    return best


def _are_several(masks: Masks) -> bool:
    """Whether these are pictures, rather than the masks of one."""
    return isinstance(masks, (list, tuple)) and len(masks) > 0 and np.ndim(masks[0]) == 3


def _images(masks: Masks) -> list[NDArray[Any]]:
    images = [np.asarray(image) for image in (masks if _are_several(masks) else [masks])]  # type: ignore[union-attr]
    for i, image in enumerate(images):
        if image.ndim != 3 or image.size == 0:
            raise LabelModelError(f"masks of picture {i} have shape {image.shape}; give (annotators, height, width)")
        if image.dtype.kind not in "biu":
            raise LabelModelError(f"masks of picture {i} are of type {image.dtype}; give bool or int, -1 where nobody looked")
        if len(image) != len(images[0]):
            raise LabelModelError(f"picture {i} has {len(image)} masks and picture 0 has {len(images[0])}; fill up with masks of -1")
    return [image.astype(np.int8) if image.dtype.kind == "b" else image for image in images]


def _known(gold: Masks | None, images: list[NDArray[Any]]) -> list[NDArray[np.int64] | None]:
    if gold is None:
        return [None] * len(images)
    listed = gold if isinstance(gold, (list, tuple)) and (len(images) > 1 or np.ndim(gold[0]) == 2) else [gold]
    if len(listed) != len(images):
        raise LabelModelError(f"{len(listed)} gold masks for {len(images)} pictures; give None where nothing is known")
    known = [None if truth is None else np.asarray(truth).astype(np.int64) for truth in listed]
    for i, (truth, image) in enumerate(zip(known, images, strict=True)):
        if truth is not None and truth.shape != image.shape[1:]:
            raise LabelModelError(f"gold mask of picture {i} has shape {truth.shape}, its masks have {image.shape[1:]}")
    return known
