from __future__ import annotations

import numpy as np
import pytest

from steelyard import Votes
from steelyard.errors import LabelModelError
from steelyard.label_models.crowdlab import CrowdLab


def simulate(n: int, m: int, k: int, seed: int, *, accuracy: np.ndarray, fill: float = 0.5, sharp: float = 1.5):
    """Votes by annotators of planted accuracy, a classifier's probabilities, and the truth."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    codes = np.where(rng.random((n, m)) < accuracy, y[:, None], (y[:, None] + rng.integers(1, k, (n, m))) % k)
    codes = np.where(rng.random((n, m)) < fill, codes, -1)
    codes[np.arange(n), rng.integers(0, m, n)] = y
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), y] += sharp
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Votes(codes, classes=[f"class {c}" for c in range(k)]), p, y


def crowdlab_by_hand(codes: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
    """The paper's equations with loops over rows and annotators."""
    n, m = codes.shape
    k = p.shape[1]
    labels = [[int(c) for c in row if c >= 0] for row in codes]
    frequency = [sum(row.count(c) for row in labels) for c in range(k)]
    consensus = [min(range(k), key=lambda c: (-row.count(c), -p[i, c], frequency[c], c)) for i, row in enumerate(labels)]
    majority = list(consensus)
    several = [i for i in range(n) if len(labels[i]) > 1]
    agreement = []
    for j in range(m):
        same = met = 0
        for i in range(n):
            for other in range(m):
                if other != j and codes[i, j] >= 0 and codes[i, other] >= 0:
                    met += 1
                    same += codes[i, j] == codes[i, other]
        agreement.append(same / met if met else np.nan)
    agreement = [np.nanmean(agreement) if np.isnan(a) else a for a in agreement]
    for turn in range(2):
        rate = np.mean([labels[i].count(consensus[i]) / len(labels[i]) for i in several])
        held = [consensus[i] for i in several]
        guessing = max(1 - max(held.count(c) for c in range(k)) / len(held), 1e-6)
        weights = [max(1 - (1 - a) / guessing, 1e-6) for a in agreement]
        wrong = np.mean([p[i].argmax() != consensus[i] for i in several])
        model_weight = max(1 - wrong / guessing, 1e-6) * np.sqrt(np.mean([len(row) for row in labels]))
        posterior = np.zeros((n, k))
        for i in range(n):
            total = model_weight
            posterior[i] = model_weight * p[i]
            for j in range(m):
                if codes[i, j] >= 0:
                    total += weights[j]
                    for c in range(k):
                        posterior[i, c] += weights[j] * (rate if codes[i, j] == c else (1 - rate) / (k - 1))
            posterior[i] /= total
        if turn == 0:
            consensus = [int(posterior[i].argmax()) if (posterior[i] == posterior[i].max()).sum() == 1 else majority[i] for i in range(n)]
    quality = []
    for j in range(m):
        q = np.mean([posterior[i, codes[i, j]] for i in range(n) if codes[i, j] >= 0])
        a = np.mean([codes[i, j] == consensus[i] for i in several if codes[i, j] >= 0])
        share = model_weight / (model_weight + np.mean([len(row) for row in labels]) * np.mean(weights))
        quality.append(share * q + (1 - share) * a)
    return {"consensus_": consensus, "probabilities_": posterior, "weights_": weights, "annotator_quality_": quality}


@pytest.mark.parametrize(("k", "fill"), [(2, 0.9), (3, 0.4), (5, 0.15)])
def test_the_equations_written_out_row_by_row_give_the_same(k: int, fill: float) -> None:
    votes, p, _ = simulate(80, 6, k, seed=k, accuracy=np.linspace(0.3, 0.9, 6), fill=fill)
    model = CrowdLab().fit(votes, p)
    for name, expected in crowdlab_by_hand(votes.codes, p).items():
        np.testing.assert_allclose(getattr(model, name), expected, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(model.predict_proba(votes, p), model.probabilities_, atol=1e-6)
    np.testing.assert_array_equal(model.quality_, model.probabilities_[np.arange(80), model.consensus_])


def test_sparse_votes_agree_with_dense() -> None:
    votes, p, _ = simulate(200, 8, 3, seed=0, accuracy=np.full(8, 0.7))
    held = Votes(votes.csr, classes=votes.classes, sources=votes.sources)
    np.testing.assert_array_equal(CrowdLab().fit(votes, p).probabilities_, CrowdLab().fit(held, p).probabilities_)


def test_planted_agreement_gives_the_planted_weights_as_n_grows() -> None:
    """With even classes and errors, two annotators of accuracies a and b agree with chance ab + (1 - a)(1 - b) / (k - 1)."""
    accuracy, k = np.array([0.95, 0.85, 0.7, 0.6]), 4
    agree = np.outer(accuracy, accuracy) + np.outer(1 - accuracy, 1 - accuracy) / (k - 1)
    expected = 1 - (1 - (agree.sum(axis=1) - agree.diagonal()) / 3) / (1 - 1 / k)
    errors = []
    for n in (500, 50_000):
        rng = np.random.default_rng(1)
        y = rng.integers(0, k, n)
        codes = np.where(rng.random((n, 4)) < accuracy, y[:, None], (y[:, None] + rng.integers(1, k, (n, 4))) % k)
        model = CrowdLab().fit(Votes(codes, classes=list("abcd")), np.full((n, k), 1 / k))
        errors.append(np.abs(model.weights_ - expected).max())
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 3


def test_the_consensus_beats_votes_alone_and_classifier_alone() -> None:
    votes, p, y = simulate(3_000, 10, 3, seed=2, accuracy=np.linspace(0.35, 0.85, 10), fill=0.2)
    model = CrowdLab().fit(votes, p)
    tally = (votes.codes[:, :, None] == np.arange(3)).sum(axis=1)
    assert (model.consensus_ == y).mean() > max((tally.argmax(axis=1) == y).mean(), (p.argmax(axis=1) == y).mean()) + 0.02
    wrong = model.consensus_ != y
    assert model.quality_[wrong].mean() < model.quality_[~wrong].mean() - 0.1


def test_permuting_the_annotators_permutes_their_weights() -> None:
    votes, p, _ = simulate(300, 5, 3, seed=3, accuracy=np.linspace(0.4, 0.9, 5))
    order = [3, 0, 4, 1, 2]
    one, other = CrowdLab().fit(votes, p), CrowdLab().fit(votes.select(order), p)
    np.testing.assert_allclose(one.weights_[order], other.weights_)
    np.testing.assert_allclose(one.annotator_quality_[order], other.annotator_quality_)
    np.testing.assert_allclose(one.probabilities_, other.probabilities_)
    assert one.annotators()["annotator"].to_list() == other.annotators()["annotator"].to_list()


def test_a_useless_classifier_counts_for_nothing_and_a_perfect_one_for_much() -> None:
    votes, _, y = simulate(1_000, 5, 3, seed=4, accuracy=np.full(5, 0.8))
    useless = CrowdLab().fit(votes, np.roll(np.eye(3), 1, axis=0)[y])
    perfect = CrowdLab().fit(votes, np.eye(3)[y])
    assert useless.model_weight_ < 1e-5
    assert perfect.model_weight_ > 1
    assert (perfect.consensus_ == y).mean() > (useless.consensus_ == y).mean()


def test_ties_go_to_the_classifier_then_to_the_rarer_class() -> None:
    votes = Votes([[0, 1], [0, 1], [0, 0], [1, 1], [0, 0]], classes=["a", "b"])
    p = np.array([[0.4, 0.6], [0.5, 0.5], [0.9, 0.1], [0.1, 0.9], [0.9, 0.1]])
    assert CrowdLab().fit(votes, p).consensus_.tolist() == [1, 1, 0, 1, 0]


def test_rows_without_votes_keep_the_classifier_and_change_nothing_else() -> None:
    votes, p, _ = simulate(100, 4, 3, seed=5, accuracy=np.full(4, 0.7))
    silent = Votes(np.vstack([votes.codes, np.full((2, 4), -1)]), classes=votes.classes)
    more = np.vstack([p, [[0.2, 0.7, 0.1], [1, 0, 0]]])
    one, other = CrowdLab().fit(votes, p), CrowdLab().fit(silent, more)
    np.testing.assert_allclose(other.probabilities_[-2:], more[-2:])
    np.testing.assert_array_equal(one.probabilities_, other.probabilities_[:-2])


def test_gold_labels_are_kept_and_expose_annotators() -> None:
    votes, p, y = simulate(400, 4, 2, seed=6, accuracy=np.array([0.45, 0.45, 0.45, 0.97]), sharp=0.2)
    gold = np.where(np.arange(400) < 100, y, -1)
    without, known = CrowdLab().fit(votes, p), CrowdLab().fit(votes, p, gold)
    assert (known.consensus_[:100] == y[:100]).all()
    assert (known.quality_[:100] == 1).all()
    assert known.weights_[3] - known.weights_[:3].mean() > without.weights_[3] - without.weights_[:3].mean()
    assert (known.consensus_[100:] == y[100:]).mean() >= (without.consensus_[100:] == y[100:]).mean()


def test_targets_carry_the_probabilities() -> None:
    votes, p, _ = simulate(50, 4, 3, seed=7, accuracy=np.full(4, 0.7))
    model = CrowdLab().fit(votes, p)
    np.testing.assert_allclose(model.targets().probabilities, model.probabilities_, atol=1e-6)


def test_errors() -> None:
    votes, p, _ = simulate(20, 3, 2, seed=8, accuracy=np.full(3, 0.7), fill=0.9)
    with pytest.raises(LabelModelError, match="one probability per row"):
        CrowdLab().fit(votes, p[:10])
    with pytest.raises(LabelModelError, match="row 3 of pred_probs"):
        CrowdLab().fit(votes, np.where(np.arange(20)[:, None] == 3, 0.9, p))
    with pytest.raises(LabelModelError, match="no row has two votes"):
        CrowdLab().fit(Votes([[0, -1], [-1, 1]], classes=["a", "b"]), np.full((2, 2), 0.5))
    with pytest.raises(LabelModelError, match="parent 'any'"):
        CrowdLab().fit(Votes([[2, 0]], classes=["a", "b"], hierarchy={"any": ["a", "b"]}), [[0.5, 0.5]])
    with pytest.raises(LabelModelError, match="not fitted"):
        CrowdLab().predict_proba(votes, p)
    with pytest.raises(LabelModelError, match="do not match"):
        CrowdLab().fit(votes, p).predict_proba(votes.select([0, 1]), p)
