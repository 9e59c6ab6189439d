"""What every label model must do. A new model passes by being added to `MODELS`; a check that fails names the law that it breaks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from steelyard import ABSTAIN, Votes, VoteStatistics
from steelyard.label_models import LabelModel

Check = Callable[[LabelModel], None]


def simulate(
    n: int, m: int, k: int, seed: int, *, accuracy: float = 0.75, abstain: float = 0.3, prior: list[float] | None = None
) -> tuple[Votes, NDArray[np.int64]]:
    """Conditionally independent votes with errors spread evenly, and the truth."""
    rng = np.random.default_rng(seed)
    y = rng.choice(k, size=n, p=prior)
    wrong = (y[:, None] + rng.integers(1, k, size=(n, m))) % k
    codes = np.where(rng.random((n, m)) < accuracy, y[:, None], wrong)
    codes = np.where(rng.random((n, m)) < abstain, ABSTAIN, codes)
    return Votes(codes, classes=[f"class {c}" for c in range(k)]), y


def fitted(model: LabelModel, votes: Votes | VoteStatistics, y: NDArray[np.int64] | None = None) -> LabelModel:
    """A fresh clone, fitted."""
    return clone(model).fit(votes, y)


def check_parameters_are_only_stored(model: LabelModel) -> None:
    before = model.get_params()
    assert clone(model).get_params() == before
    assert not [name for name in vars(clone(model)) if name.endswith("_")]


def check_fitted_attributes(model: LabelModel) -> None:
    votes, _ = simulate(400, 5, 2, seed=0)
    m = fitted(model, votes)
    assert m.confusions_.shape == (5, 2, 3)
    np.testing.assert_allclose(m.confusions_.sum(axis=2), 1, atol=1e-6)
    assert (m.confusions_ >= 0).all()
    assert m.class_prior_.shape == (2,)
    np.testing.assert_allclose(m.class_prior_.sum(), 1)
    assert m.accuracies_.shape == (5,)
    assert isinstance(m.converged_, bool)
    assert m.class_prior_source_ in {"given", "gold", "estimated", "votes", "uniform"}


def check_probabilities(model: LabelModel) -> None:
    votes, y = simulate(500, 6, 2, seed=1)
    m = fitted(model, votes)
    p = m.predict_proba(votes)
    assert p.shape == (500, 2)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    assert m.score(votes, y) > 0.8


def check_silent_rows_get_the_prior(model: LabelModel) -> None:
    votes, _ = simulate(400, 5, 2, seed=2, prior=[0.3, 0.7])
    m = fitted(model, votes)
    silent = Votes(np.full((3, 5), ABSTAIN), classes=votes.classes, sources=votes.sources)
    np.testing.assert_allclose(m.predict_proba(silent), np.tile(m.class_prior_, (3, 1)), atol=1e-5)
    assert (m.predict(silent) == m.class_prior_.argmax()).all()


def check_rows_may_be_permuted(model: LabelModel) -> None:
    votes, _ = simulate(300, 5, 2, seed=3)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(
        fitted(model, votes).predict_proba(votes)[order], fitted(model, votes[order]).predict_proba(votes[order]), atol=1e-5
    )
    np.testing.assert_array_equal(fitted(model, votes).predict(votes)[order], fitted(model, votes).predict(votes[order]))


def check_sources_may_be_permuted(model: LabelModel) -> None:
    votes, _ = simulate(600, 5, 2, seed=4)
    order = [3, 1, 4, 0, 2]
    shuffled = votes.select(order)
    one, other = fitted(model, votes), fitted(model, shuffled)
    np.testing.assert_allclose(one.predict_proba(votes), other.predict_proba(shuffled), atol=1e-3)
    np.testing.assert_allclose(one.accuracies_[order], other.accuracies_, atol=1e-3)


def check_statistics_fit_is_the_row_fit(model: LabelModel) -> None:
    votes, _ = simulate(500, 5, 2, seed=5)
    keep = type(model).keep
    whole = fitted(model, votes)
    parts = [VoteStatistics.from_votes(votes[i : i + 100], keep=keep) for i in range(0, 500, 100)]
    merged = fitted(model, VoteStatistics.merge(parts[::-1]))
    np.testing.assert_array_equal(whole.confusions_, merged.confusions_)
    streamed = clone(model)
    for i in range(0, 500, 100):
        streamed.partial_fit(votes[i : i + 100])
    np.testing.assert_array_equal(whole.confusions_, streamed.confusions_)
    np.testing.assert_array_equal(whole.predict_proba(votes), streamed.predict_proba(votes))


def check_sparse_votes_agree_with_dense(model: LabelModel) -> None:
    votes, _ = simulate(300, 5, 2, seed=6)
    held = Votes(votes.csr, classes=votes.classes, sources=votes.sources)
    np.testing.assert_allclose(fitted(model, votes).predict_proba(votes), fitted(model, held).predict_proba(held), atol=1e-5)


def check_gold_labels_help(model: LabelModel) -> None:
    votes, y = simulate(800, 5, 2, seed=7, accuracy=0.62)
    known = np.where(np.arange(800) < 200, y, -1)
    without, with_gold = fitted(model, votes), fitted(model, votes, known)
    assert with_gold.score(votes[200:], y[200:]) >= without.score(votes[200:], y[200:]) - 0.03


def check_ties(model: LabelModel) -> None:
    votes, _ = simulate(400, 4, 2, seed=8)
    m = fitted(model, votes)
    m.class_prior_ = np.array([0.5, 0.5])
    silent = Votes(np.full((2, 4), ABSTAIN), classes=votes.classes, sources=votes.sources)
    assert (m.predict(silent, tie="abstain") == -1).all()
    assert (m.predict(silent, tie="lowest") == 0).all()
    assert m.predict(silent, tie="random", seed=1).tolist() == m.predict(silent[:1], tie="random", seed=1).tolist() * 2


def check_extremes_stay_finite(model: LabelModel) -> None:
    rng = np.random.default_rng(9)
    mute = rng.integers(0, 2, (50, 4))
    mute[:, 1] = ABSTAIN
    stubborn = rng.integers(0, 2, (50, 4))
    stubborn[:, 2] = 1
    cases = {
        "a source that never votes": Votes(mute, classes=["a", "b"]),
        "a source with one answer": Votes(stubborn, classes=["a", "b"]),
        "identical rows": Votes(np.tile([0, 1, 1], (40, 1)), classes=["a", "b"]),
        "three sources, ten rows": Votes(rng.integers(-1, 2, (10, 3)), classes=["a", "b"]),
        "all rows silent": Votes(np.full((20, 3), ABSTAIN), classes=["a", "b"]),
        "one row": Votes([[0, 1, 0]], classes=["a", "b"]),
    }
    for name, votes in cases.items():
        p = fitted(model, votes).predict_proba(votes)
        assert np.isfinite(p).all(), name
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5, err_msg=name)


def check_many_classes(model: LabelModel) -> None:
    votes, y = simulate(4000, 7, 20, seed=10, abstain=0.2)
    m = fitted(model, votes)
    assert np.isfinite(m.predict_proba(votes)).all()
    assert m.score(votes, y) > 0.9


def check_one_class(model: LabelModel) -> None:
    votes = Votes(np.zeros((10, 3), int), classes=["only"])
    assert fitted(model, votes).predict_proba(votes).tolist() == [[1.0]] * 10


def check_hierarchy(model: LabelModel) -> None:
    votes, y = simulate(2000, 6, 3, seed=11, abstain=0.1)
    codes = votes.codes.copy()
    # Source 0 can only tell class 0 from the rest.
    codes[:, 0] = np.where(codes[:, 0] > 0, 3, codes[:, 0])
    coarse = Votes(codes, classes=votes.classes, hierarchy={"rest": votes.classes[1:]})
    m = fitted(model, coarse)
    assert m.confusions_.shape == (6, 3, 5)
    assert m.score(coarse, y) > 0.85


def check_round_trip(model: LabelModel, folder: str | None = None) -> None:
    import tempfile
    from pathlib import Path

    votes, _ = simulate(200, 4, 2, seed=12)
    m = fitted(model, votes)
    with tempfile.TemporaryDirectory() as temporary:
        m.save(Path(temporary) / "model.safetensors")
        again = LabelModel.load(Path(temporary) / "model.safetensors")
    assert type(again) is type(m)
    np.testing.assert_array_equal(again.predict_proba(votes), m.predict_proba(votes))


CHECKS: list[Check] = [value for name, value in sorted(globals().items()) if name.startswith("check_")]
MULTICLASS: list[Check] = [check_many_classes, check_one_class, check_hierarchy]
