from __future__ import annotations

import io

import numpy as np
import pytest
from scipy import ndimage
from sklearn.base import clone

from steelyard.errors import LabelModelError
from steelyard.label_models.segmentation import SegmentationEM, SegmentationMajority, SegmentationModel, SegmentationRASA

MODELS: list[SegmentationModel] = [SegmentationMajority(), SegmentationEM(), SegmentationEM(kind="one-coin"), SegmentationRASA()]


def simulate(shape: tuple[int, int], sensitivity: np.ndarray, specificity: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A blobby truth (h, w) and masks (A, h, w) whose pixels are wrong independently of each other."""
    rng = np.random.default_rng(seed)
    relief = ndimage.gaussian_filter(rng.normal(size=shape), 4)
    truth = relief > np.quantile(relief, 0.65)
    chance = np.where(truth, sensitivity[:, None, None], 1 - specificity[:, None, None])
    return truth.astype(int), (rng.random(chance.shape) < chance).astype(int)


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of the objects."""
    return float(((mask > 0) & (truth > 0)).sum() / ((mask > 0) | (truth > 0)).sum())


def staple_by_hand(masks: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Warfield's equations over all pixels: posterior of the object, sensitivity and specificity; started from the mean mask."""
    flat = masks.reshape(len(masks), -1).astype(float)
    w = flat.mean(axis=0)
    for _ in range(steps):
        p = (flat * w).sum(axis=1) / w.sum()
        q = ((1 - flat) * (1 - w)).sum(axis=1) / (1 - w).sum()
        f = w.mean()
        a = f * np.prod(np.where(flat > 0, p[:, None], 1 - p[:, None]), axis=0)
        b = (1 - f) * np.prod(np.where(flat > 0, 1 - q[:, None], q[:, None]), axis=0)
        w = a / (a + b)
    return w.reshape(masks.shape[1:]), p, q


def rasa_by_hand(masks: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(len(masks), 1 / len(masks))
    for _ in range(steps):
        consensus = sum(w * m for w, m in zip(weights, masks, strict=True)) >= 0.5 - 1e-9
        ious = [(m.astype(bool) & consensus).sum() / (m.astype(bool) | consensus).sum() for m in masks]
        weights = np.array([np.log(1 / (1 - iou + 1e-5) + 1) for iou in ious])
        weights /= weights.sum()
    return consensus, weights


def test_majority_is_the_share_of_votes_and_half_makes_an_object() -> None:
    masks = np.array([[[1, 0, 0]], [[1, 1, 0]]])
    model = SegmentationMajority().fit(masks)
    np.testing.assert_allclose(model.predict_proba(masks)[0, :, 1], [1, 0.5, 0])
    assert model.predict(masks).tolist() == [[1, 1, 0]]
    assert SegmentationMajority(weights=[3, 1]).fit_predict(masks).tolist() == [[1, 0, 0]]


def test_em_is_staple() -> None:
    _, masks = simulate((24, 30), np.array([0.9, 0.7, 0.6, 0.8]), np.array([0.8, 0.9, 0.95, 0.7]), seed=0)
    posterior, p, q = staple_by_hand(masks, steps=20)
    model = SegmentationEM(prior=None, max_iter=20, tol=-np.inf).fit(masks)
    np.testing.assert_allclose(model.sensitivity_, p, atol=1e-6)
    np.testing.assert_allclose(model.specificity_, q, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(masks)[:, :, 1], posterior, atol=1e-5)


def test_rasa_written_out_picture_by_picture_gives_the_same() -> None:
    _, masks = simulate((20, 20), np.array([0.95, 0.9, 0.6, 0.5, 0.7]), np.array([0.95, 0.98, 0.9, 0.8, 0.7]), seed=1)
    consensus, weights = rasa_by_hand(masks, steps=30)
    model = SegmentationRASA().fit(masks)
    assert model.converged_
    np.testing.assert_allclose(model.weights_, weights)
    np.testing.assert_array_equal(model.predict(masks) > 0, consensus)


def test_planted_sensitivity_and_specificity_are_recovered_as_pixels_grow() -> None:
    sensitivity, specificity = np.array([0.95, 0.8, 0.6, 0.7, 0.5]), np.array([0.9, 0.99, 0.95, 0.7, 0.98])
    errors = []
    for side in (30, 400):
        truth, masks = simulate((side, side), sensitivity, specificity, seed=2)
        model = SegmentationEM().fit(masks)
        errors.append(max(np.abs(model.sensitivity_ - sensitivity).max(), np.abs(model.specificity_ - specificity).max()))
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3
    assert overlap(model.predict(masks), truth) > overlap(SegmentationMajority().fit_predict(masks), truth) + 0.03


def test_rasa_weighs_careful_annotators_more() -> None:
    quality = np.array([0.98, 0.95, 0.8, 0.7, 0.65, 0.6])
    truth, masks = simulate((80, 80), quality, quality, seed=3)
    model = SegmentationRASA().fit(masks)
    assert (np.diff(model.weights_) < 0).all()
    assert overlap(model.predict(masks), truth) > overlap(SegmentationMajority().fit_predict(masks), truth)


@pytest.mark.parametrize("model", [SegmentationEM(), SegmentationRASA()], ids=repr)
def test_known_masks_tell_who_is_right_when_wrong_annotators_copy_each_other(model: SegmentationModel) -> None:
    quality = np.array([0.97, 0.97, 0.6, 0.6, 0.6])
    truths, pictures = map(list, zip(*(simulate((40, 40), quality, quality, seed) for seed in range(10, 14)), strict=True))
    for masks in pictures:
        masks[3] = masks[4] = masks[2]
    blind, told = clone(model).fit(pictures), clone(model).fit(pictures, [*truths[:3], None])
    assert overlap(blind.predict(pictures[3]), truths[3]) < 0.6
    assert overlap(told.predict(pictures[3]), truths[3]) > 0.85


@pytest.mark.parametrize("model", MODELS, ids=repr)
class TestEveryModel:
    def test_pictures_of_any_size_give_masks_of_their_size(self, model: SegmentationModel) -> None:
        quality = np.full(5, 0.95)
        (one, first), (other, second) = simulate((10, 12), quality, quality, 4), simulate((7, 20), quality, quality, 5)
        fitted = clone(model).fit([first, second])
        p, q = fitted.predict_proba([first, second])
        assert p.shape == (10, 12, 2)
        assert q.shape == (7, 20, 2)
        np.testing.assert_allclose(q.sum(axis=2), 1, atol=1e-5)
        np.testing.assert_array_equal(fitted.predict([first, second])[1], fitted.predict(second))
        assert overlap(fitted.predict(first), one) > 0.8
        assert overlap(fitted.predict(second), other) > 0.8

    def test_cutting_a_picture_into_pieces_changes_nothing(self, model: SegmentationModel) -> None:
        quality = np.array([0.9, 0.8, 0.7, 0.85])
        _, masks = simulate((20, 30), quality, quality, 6)
        whole = clone(model).fit(masks)
        pieces = clone(model).fit([masks[:, :, :10], masks[:, :, 10:]])
        np.testing.assert_array_equal(whole.predict_proba(masks), pieces.predict_proba(masks))

    def test_permuting_the_annotators_permutes_what_is_learned(self, model: SegmentationModel) -> None:
        quality = np.array([0.95, 0.8, 0.7, 0.6])
        _, masks = simulate((30, 30), quality, quality, 7)
        order = [2, 0, 3, 1]
        one, other = clone(model).fit(masks), clone(model).fit(masks[order])
        np.testing.assert_allclose(one.model_.confusions_[order], other.model_.confusions_, atol=1e-6)
        np.testing.assert_array_equal(one.predict(masks), other.predict(masks[order]))

    def test_several_classes(self, model: SegmentationModel) -> None:
        rng = np.random.default_rng(8)
        truth = ndimage.zoom(rng.integers(0, 4, (6, 6)), 6, order=0)
        masks = np.where(rng.random((7, *truth.shape)) < 0.7, truth, rng.integers(0, 4, (7, *truth.shape)))
        fitted = clone(model).fit(masks)
        assert fitted.classes_ == ("0", "1", "2", "3")
        assert (fitted.predict(masks) == truth).mean() > 0.95

    def test_who_never_saw_a_picture_is_left_out_there(self, model: SegmentationModel) -> None:
        quality = np.array([0.95, 0.9, 0.9, 0.9])
        truth, masks = simulate((30, 30), quality, quality, 9)
        unseen = np.concatenate([masks, np.full((1, 30, 30), -1)])
        one, other = clone(model).fit(masks), clone(model).fit(unseen)
        np.testing.assert_array_equal(one.predict(masks), other.predict(unseen))
        assert overlap(other.predict(unseen), truth) > 0.9

    def test_empty_masks(self, model: SegmentationModel) -> None:
        masks = np.zeros((3, 5, 5), bool)
        assert (clone(model).fit_predict(masks) == 0).all()

    def test_errors(self, model: SegmentationModel) -> None:
        masks = np.zeros((3, 5, 5), int)
        with pytest.raises(LabelModelError, match="not fitted"):
            clone(model).predict(masks)
        with pytest.raises(LabelModelError, match=r"give \(annotators, height, width\)"):
            clone(model).fit(masks[0])
        with pytest.raises(LabelModelError, match="give bool or int"):
            clone(model).fit(masks / 2)
        with pytest.raises(LabelModelError, match="picture 1 has 2 masks"):
            clone(model).fit([masks, masks[:2]])
        with pytest.raises(LabelModelError, match="2 gold masks for 1 pictures"):
            clone(model).fit([masks], [masks[0], masks[0]])
        with pytest.raises(LabelModelError, match="gold mask of picture 0 has shape"):
            clone(model).fit(masks, np.zeros((4, 5), int))
        with pytest.raises(LabelModelError, match="do not match the 3"):
            clone(model).fit(masks).predict(masks[:2])


def test_em_beats_the_majority_when_most_annotators_miss_nuclei(data_root) -> None:
    """Real nuclei; two careful annotators, three who overlook half of the nuclei and draw the rest too small."""
    import polars as pl

    Image = pytest.importorskip("PIL.Image")
    table = pl.read_parquet(data_root / "nuclei_dsb2018/nuclei.parquet").filter(pl.col("modality") == "fluorescence").head(10)
    rng = np.random.default_rng(0)
    truths, pictures = [], []
    for coded in table["instance_mask"]:
        nuclei = np.array(Image.open(io.BytesIO(coded)))
        masks = []
        for missed, shrink in [(0.02, 0), (0.05, 0), (0.55, 1), (0.55, 1), (0.55, 1)]:
            seen = np.arange(1, nuclei.max() + 1)[rng.random(nuclei.max()) >= missed]
            mask = np.isin(nuclei, seen)
            mask = ndimage.binary_erosion(mask, iterations=shrink) if shrink else mask
            masks.append(ndimage.shift(mask.astype(float), rng.integers(-1, 2, 2), order=0) > 0.5)
        truths.append(nuclei > 0)
        pictures.append(np.stack(masks))

    def mean_overlap(model: SegmentationModel) -> float:
        return float(np.mean([overlap(mask, truth) for mask, truth in zip(model.fit_predict(pictures), truths, strict=True)]))

    assert mean_overlap(SegmentationEM()) > mean_overlap(SegmentationMajority()) + 0.15
