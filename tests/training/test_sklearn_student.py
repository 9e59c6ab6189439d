from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from steelyard.errors import TrainingError
from steelyard.targets import Targets
from steelyard.training import ProbeStudent, SklearnStudent, load_student
from steelyard.training.logistic import soft_logistic_regression

TEXTS = ["see you", "buy now", "see me", "buy this", "meet you", "win this now"] * 3
TARGETS = Targets([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9], [0.95, 0.05], [0.3, 0.7]] * 3, classes=["ham", "spam"])


def _soft_data(n: int = 80, d: int = 5, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    logits = x @ rng.normal(size=(d, k)) + rng.normal(size=(n, k))
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return x, q, rng.gamma(2.0, size=n)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_soft_logistic_regression_is_scikit_learns_on_replicated_rows(k):
    x, q, w = _soft_data(k=k)
    W, b = soft_logistic_regression(x, q, w, C=0.7, tol=1e-9)
    rows, codes = np.divmod(np.arange(q.size), k)
    peer = LogisticRegression(C=0.7, tol=1e-10, max_iter=10_000).fit(x[rows], codes, sample_weight=(q * w[:, None]).ravel())
    ours = np.exp(x @ W.T + b)
    np.testing.assert_allclose(ours / ours.sum(1, keepdims=True), peer.predict_proba(x), atol=1e-4)
    if k > 2:
        np.testing.assert_allclose(W, peer.coef_, atol=1e-4)
    else:
        np.testing.assert_allclose(W[1] - W[0], peer.coef_[0], atol=1e-4)


def test_soft_logistic_regression_does_not_depend_on_the_order_of_rows_or_classes():
    x, q, w = _soft_data()
    order, classes = np.random.default_rng(1).permutation(len(x)), [2, 0, 1]
    W, b = soft_logistic_regression(x, q, w, tol=1e-9)
    W2, b2 = soft_logistic_regression(x[order], q[order][:, classes], w[order], tol=1e-9)
    np.testing.assert_allclose(W2, W[classes], atol=1e-5)
    np.testing.assert_allclose(b2, b[classes], atol=1e-5)


def test_probe_and_sklearn_student_learn_the_same_logistic_regression():
    x, q, w = _soft_data()
    targets = Targets(q, classes=["a", "b", "c"], weights=w / w.mean())
    probe = ProbeStudent(C=2.0, tol=1e-9).fit(x, targets)
    student = SklearnStudent(LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000)).fit(x, targets)
    np.testing.assert_allclose(student.predict_proba(x), probe.predict_proba(x), atol=1e-4)


def test_uniform_targets_teach_nothing_and_confident_ones_do():
    unsure = Targets(np.full((18, 2), 0.5), classes=["ham", "spam"])
    np.testing.assert_allclose(SklearnStudent().fit(TEXTS, unsure).predict_proba(["buy now"]), 0.5, atol=1e-3)
    assert SklearnStudent().fit(TEXTS, TARGETS).predict_proba(["buy now"])[0, 1] > 0.6


def test_transformers_see_each_row_once():
    student = SklearnStudent().fit(TEXTS, TARGETS)
    np.testing.assert_allclose(student.estimator_[0].idf_, TfidfVectorizer(ngram_range=(1, 2)).fit(TEXTS).idf_)


def test_columns_follow_the_targets_even_when_a_class_never_occurs():
    probabilities = np.insert(TARGETS.probabilities, 1, 0.0, axis=1)
    targets = Targets(probabilities, classes=["ham", "never", "spam"])
    for student in (SklearnStudent(), SklearnStudent(KNeighborsClassifier(3)), ProbeStudent()):
        data = (
            np.random.default_rng(0).normal(size=(18, 4))
            if not (isinstance(student, SklearnStudent) and student.estimator is None)
            else TEXTS
        )
        with pytest.warns(UserWarning, match="sample weights") if getattr(student, "estimator", None) is not None else _no_check():
            proba = student.fit(data, targets).predict_proba(data)
        assert proba.shape == (18, 3)
        assert (proba[:, 1] == 0).all()
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)


def _no_check():
    from contextlib import nullcontext

    return nullcontext()


def test_tables_by_columns_with_missing_numbers_and_boosting():
    rng = np.random.default_rng(0)
    age, pay = rng.normal(size=200), rng.normal(size=200)
    y = (age > 0).astype(int)
    age[::10] = np.nan
    table = pl.DataFrame({"age": age, "pay": pay, "name": ["x"] * 200})
    targets = Targets.from_labels(y, classes=["no", "yes"])
    student = SklearnStudent(HistGradientBoostingClassifier(random_state=0), on=["age", "pay"]).fit(table, targets)
    assert (student.predict(table) == y)[np.isfinite(age)].mean() > 0.97
    with pytest.raises(TrainingError, match="contains NaN; 20 rows hold NaN or infinity: fill them"):
        SklearnStudent(on=["age", "pay"]).fit(table, targets)


def test_estimators_that_cannot_learn_probabilities_are_refused():
    with pytest.raises(TrainingError, match="LinearSVC has no predict_proba"):
        SklearnStudent(LinearSVC()).fit(TEXTS, TARGETS)


@pytest.mark.parametrize(
    ("estimator", "data"),
    [
        (None, TEXTS),
        (None, np.random.default_rng(0).normal(size=(18, 3))),
        (make_pipeline(TfidfVectorizer(max_features=5, ngram_range=(1, 3)), LogisticRegression(C=3.0)), TEXTS),
    ],
    ids=["text", "numbers", "own parameters"],
)
def test_saved_students_predict_the_same_bytes(tmp_path, estimator, data):
    student = SklearnStudent(estimator).fit(data, TARGETS)
    student.save(tmp_path / "s")
    loaded = load_student(tmp_path / "s")
    assert loaded.predict_proba(data).tobytes() == student.predict_proba(data).tobytes()
    assert loaded.classes_ == ("ham", "spam")
    again = clone(loaded).fit(data, TARGETS)
    assert again.predict_proba(data).tobytes() == student.predict_proba(data).tobytes()


def test_what_needs_pickle_is_not_saved(tmp_path):
    student = SklearnStudent(make_pipeline(TfidfVectorizer(), MultinomialNB())).fit(TEXTS, TARGETS)
    with pytest.raises(TrainingError, match=r"MultinomialNB cannot be saved without pickle; savable are .*LogisticRegression"):
        student.save(tmp_path / "s")
    assert not (tmp_path / "s" / "student.json").exists()


def test_unfitted_students_say_so():
    with pytest.raises(TrainingError, match="has learned nothing yet"):
        SklearnStudent().predict(TEXTS)
