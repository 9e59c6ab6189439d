from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from steelyard import ABSTAIN, Votes
from steelyard.errors import DataError, LabelModelError
from steelyard.label_models import DawidSkene, MajorityVote
from steelyard.label_models.multi_label import MultiLabelVote, multi_label_votes

TABLE = {
    "task": ["t1", "t1", "t2", "t2"],
    "worker": ["Ann", "Bo", "Bo", "Cy"],
    "labels": [["sea", "sky"], ["sea"], [], ["sky"]],
}


def simulate(n: int, m: int, seed: int) -> tuple[dict[str, Votes], np.ndarray, np.ndarray, np.ndarray]:
    """Votes on three labels by workers with a recall and a specificity for each; truth (n, 3), recall and specificity (3, m)."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 3)) < [0.5, 0.3, 0.6]
    recall, specificity = rng.uniform(0.55, 0.95, (3, m)), rng.uniform(0.6, 0.98, (3, m))
    votes = {}
    for i, name in enumerate(["sea", "sky", "sun"]):
        yes = rng.random((n, m)) < np.where(truth[:, [i]], recall[i], 1 - specificity[i])
        votes[name] = Votes(np.where(rng.random((n, m)) < 0.2, ABSTAIN, yes.astype(int)), classes=["absent", "present"])
    return votes, truth, recall, specificity


@pytest.mark.parametrize("form", [dict, pl.DataFrame, pd.DataFrame])
def test_a_worker_who_answered_denies_the_labels_left_out(form: type) -> None:
    votes, tasks = multi_label_votes(form(TABLE))
    assert tasks.to_list() == ["t1", "t2"]
    assert votes["sea"].sources == ("Ann", "Bo", "Cy")
    assert votes["sea"].codes.tolist() == [[1, 1, -1], [-1, 0, 0]]
    assert votes["sky"].codes.tolist() == [[1, 0, -1], [-1, 0, 1]]


def test_labels_that_were_not_asked_are_abstentions() -> None:
    votes, _ = multi_label_votes(TABLE | {"asked": [["sea", "sky"], ["sea"], ["sky"], ["sky"]]}, asked="asked")
    assert votes["sea"].codes.tolist() == [[1, 1, -1], [-1, -1, -1]]
    assert votes["sky"].codes.tolist() == [[1, -1, -1], [-1, 0, 1]]


def test_few_answers_of_many_workers_are_held_sparsely_and_agree_with_dense() -> None:
    n = 60
    table = {"task": list(range(n)), "worker": list(range(n)), "labels": [["a"] if i % 3 else ["b"] for i in range(n)]}
    votes, _ = multi_label_votes(table, names=["a", "b", "never"])
    assert votes["a"].is_sparse
    assert (votes["a"].codes.diagonal() == np.array([1 if i % 3 else 0 for i in range(n)])).all()
    assert (votes["never"].csr.data == 1).all()


@pytest.mark.parametrize("model", [MajorityVote(), DawidSkene()], ids=repr)
def test_each_column_is_the_model_of_that_label_alone(model) -> None:
    votes, truth, _, _ = simulate(400, 6, seed=0)
    gold = np.where(np.arange(400)[:, None] < 30, truth.astype(int), -1)
    fitted = MultiLabelVote(model).fit(votes, gold)
    p = fitted.predict_proba(votes)
    assert p.shape == (400, 3)
    assert p.dtype == np.float32
    for i, name in enumerate(votes):
        alone = type(model)().fit(votes[name], gold[:, i])
        np.testing.assert_array_equal(p[:, i], alone.predict_proba(votes[name])[:, 1])
        np.testing.assert_array_equal(fitted.accuracies_[i], alone.accuracies_)
    assert (fitted.predict(votes) == truth).mean() > 0.85


def test_planted_recalls_and_specificities_are_recovered_as_n_grows() -> None:
    errors = []
    for n in (1_000, 60_000):
        votes, truth, recall, specificity = simulate(n, 7, seed=1)
        model = MultiLabelVote(DawidSkene(tol=1e-9, max_iter=500)).fit(votes)
        spoken = np.stack([m.confusions_[:, :, :2] / m.confusions_[:, :, :2].sum(axis=2, keepdims=True) for m in model.models_.values()])
        errors.append(max(np.abs(spoken[:, :, 1, 1] - recall).max(), np.abs(spoken[:, :, 0, 0] - specificity).max()))
        assert np.abs(model.label_prior_ - truth.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 3


def test_permuting_the_workers_permutes_the_accuracies() -> None:
    votes, _, _, _ = simulate(500, 4, seed=2)
    order = [2, 0, 3, 1]
    one = MultiLabelVote(DawidSkene()).fit(votes)
    other = MultiLabelVote(DawidSkene()).fit({name: part.select(order) for name, part in votes.items()})
    np.testing.assert_allclose(one.accuracies_[:, order], other.accuracies_, atol=1e-9)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"task": [1], "worker": [1]}, "no column 'labels'"),
        ({"task": [1], "worker": [1], "labels": ["a,b"]}, "must hold lists"),
        ({"task": [1], "worker": [1], "labels": [[]]}, "no label at all"),
        ({"task": [1, 1], "worker": ["Ann", "Ann"], "labels": [["a"], ["b"]]}, "worker 'Ann' answered task '1' more than once"),
    ],
)
def test_bad_tables_are_named(table: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        multi_label_votes(table)


def test_labels_outside_the_names_or_not_asked_are_named() -> None:
    with pytest.raises(DataError, match="'sky'; labels are sea"):
        multi_label_votes(TABLE, names=["sea"])
    with pytest.raises(DataError, match="label 'sky', which is not in column 'asked'"):
        multi_label_votes(TABLE | {"asked": [["sea"], ["sea"], [], ["sky"]]}, asked="asked")


def test_votes_that_do_not_fit_together_are_named() -> None:
    votes, truth, _, _ = simulate(30, 3, seed=3)
    with pytest.raises(LabelModelError, match="at least one label"):
        MultiLabelVote().fit({})
    with pytest.raises(LabelModelError, match="'sea' and 'sky' differ"):
        MultiLabelVote().fit({"sea": votes["sea"], "sky": votes["sky"][:20]})
    with pytest.raises(LabelModelError, match="exactly two"):
        MultiLabelVote().fit({"sea": Votes([[2]], classes=["a", "b", "c"])})
    with pytest.raises(LabelModelError, match="one column per label"):
        MultiLabelVote().fit(votes, truth[:, :2].astype(int))
    with pytest.raises(LabelModelError, match="not fitted"):
        MultiLabelVote().predict(votes)
    with pytest.raises(LabelModelError, match="do not match the labels"):
        MultiLabelVote().fit(votes).predict({"sea": votes["sea"]})
