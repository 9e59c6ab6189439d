"""The harmonizer finds what a generic optimiser finds, needs no labels, and doubts answers as often as they are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from steelyard import Votes
from steelyard.errors import ConfigError, DataError, LabelModelError
from steelyard.evaluation import risk_scores
from steelyard.label_models import ParetoHarmonizer

torch = pytest.importorskip("torch")

NAMES = ["red", "green", "blue"]


def simulate(n: int, seed: int, m: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, truth, and votes: the last column is a model whose errors follow the features, the others err by chance and abstain."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    y = x[:, :3].argmax(axis=1)
    codes = np.where(rng.random((n, m)) < 0.75, y[:, None], rng.integers(0, 3, (n, m)))
    codes[rng.random((n, m)) < 0.3] = -1
    systematic = np.where((x[:, 3] > 0.3) | (rng.random(n) < 0.1), (y + 1) % 3, y)
    return x, y, np.column_stack([codes, systematic])


def small(**options: object) -> ParetoHarmonizer:
    return ParetoHarmonizer(**{"hidden": 32, "epochs": 15, "batch_size": 64, "learning_rate": 5e-3, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("aggregation", ["linear", "quadratic", "euclidean", "chebyshev"])
def test_fit_equals_a_generic_optimiser_on_losses_in_loops(aggregation: str) -> None:
    rng = np.random.default_rng(3)
    group = np.arange(90) % 3  # one-hot features: each group has a distribution of its own
    codes = np.where(rng.random((90, 3)) < 0.8, rng.integers(0, 3, (90, 3)), -1)
    by_hand = {"linear": sum, "quadratic": lambda t: sum(t) ** 2, "euclidean": lambda t: sum(a**2 for a in t) ** 0.5, "chebyshev": max}

    def loss(logits: np.ndarray, g: int) -> float:
        log_h = log_softmax(logits)
        total, rows = 0.0, 0
        for row in codes[group == g]:
            terms = [-log_h[c] / 3 for c in row if c >= 0]
            if terms:
                total, rows = total + by_hand[aggregation](terms), rows + 1
        return total / rows

    expected = [softmax(minimize(loss, np.zeros(3), args=(g,), method="Nelder-Mead", options={"maxiter": 2000}).x) for g in range(3)]
    model = ParetoHarmonizer(
        hidden=None, aggregation=aggregation, epochs=300, batch_size=90, learning_rate=0.02, weight_decay=0, held_out=0, patience=300
    )
    h = model.fit(np.eye(3, dtype=np.float32)[group], Votes(codes, classes=NAMES)).predict_proba(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(h, expected, atol=0.02)


def test_risk_finds_systematic_errors_beside_other_sources_and_not_where_the_answers_are_distilled_alone() -> None:
    x, _, codes = simulate(3000, seed=0)
    x_new, y_new, new = simulate(3000, seed=1)
    votes, alone = Votes(codes, classes=NAMES), Votes(codes[:, [-1]], classes=NAMES)
    wrong = new[:, -1] != y_new
    model, distilled = small().fit(x, votes), small().fit(x, alone)
    together = risk_scores(model.risk(x_new, new[:, -1]), wrong)
    single = risk_scores(distilled.risk(x_new, new[:, -1]), wrong)
    assert together.auroc > 0.85 > single.auroc + 0.1
    assert together.r2 > 0.75 > single.r2 + 0.2
    assert (model.predict(x_new) == y_new).mean() > (~wrong).mean() + 0.2


def test_error_of_the_risk_falls_with_the_rows() -> None:
    x_new, y_new, _ = simulate(2000, seed=9)
    errors = []
    for n in (100, 4000):
        x, _, codes = simulate(n, seed=4)
        h = small().fit(x, Votes(codes, classes=NAMES)).predict(x_new)
        errors.append((h != y_new).mean())
    assert errors[1] < errors[0] - 0.05


def test_rows_without_votes_teach_nothing_and_are_labelled_all_the_same() -> None:
    x, y, codes = simulate(1500, seed=2)
    silent = np.full((200, codes.shape[1]), -1)
    options = {"held_out": 0.0, "epochs": 5}
    junk = np.full((200, 6), 9, np.float32)
    padded = small(**options).fit(np.vstack([x, junk]), Votes(np.vstack([codes, silent]), classes=NAMES))
    plain = small(**options).fit(x, Votes(codes, classes=NAMES))
    np.testing.assert_array_equal(padded.predict_proba(x), plain.predict_proba(x))
    assert (plain.predict(x) == y).mean() > 0.7


def test_the_best_epoch_is_kept_and_gold_is_only_read_when_given() -> None:
    x, y, codes = simulate(800, seed=5)
    votes = Votes(codes, classes=NAMES)
    model = small(hidden=256, epochs=60, patience=3).fit(x, votes)
    losses = [line["held_out_loss"] for line in model.history_]
    assert model.best_epoch_ == int(np.argmin(losses)) + 1
    assert len(losses) in (model.best_epoch_ + 3, 60)
    assert not model.gold_used_
    known = np.where(np.arange(800) < 60, y, -1)
    by_gold = small().fit(x, votes, known)
    assert by_gold.gold_used_
    # Gold only chooses the epoch: wrong labels on rows that stay outside the held-out share change nothing.
    assert not small(held_out=0.0).fit(x, votes, known).gold_used_


def test_same_seed_same_bytes_and_save_and_load(tmp_path: Path) -> None:
    x, _, codes = simulate(400, seed=6)
    votes = Votes(codes, classes=NAMES)
    model = small(seed=3, weights="min_var").fit(x, votes)
    assert np.array_equal(model.predict_proba(x), small(seed=3, weights="min_var").fit(x, votes).predict_proba(x))
    model.save(tmp_path / "model.safetensors")
    loaded = ParetoHarmonizer.load(tmp_path / "model.safetensors")
    assert np.array_equal(model.predict_proba(x), loaded.predict_proba(x))
    assert (loaded.classes_, loaded.best_epoch_) == (tuple(NAMES), model.best_epoch_)
    assert loaded.weights_.sum() == pytest.approx(1)
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:50])
    with pytest.raises(DataError, match="truncated"):
        ParetoHarmonizer.load(tmp_path / "broken.safetensors")


def test_weights_of_ones_own_silence_a_source_that_votes_one_class_whatever_the_row() -> None:
    x, y, codes = simulate(1500, seed=7)
    biased = np.column_stack([codes, np.zeros((1500, 8), int)])
    votes = Votes(biased, classes=NAMES)
    own = np.array([1.0] * codes.shape[1] + [0.0] * 8)
    assert (small(weights=own).fit(x, votes).predict(x) == y).mean() > (small().fit(x, votes).predict(x) == y).mean() + 0.1


def test_risk_of_several_sources_and_of_none() -> None:
    x, _, codes = simulate(300, seed=8)
    model = small(epochs=2).fit(x, Votes(codes, classes=NAMES))
    h, risk = model.predict_proba(x), model.risk(x, codes)
    assert risk.shape == codes.shape
    assert np.isnan(risk[codes < 0]).all()
    i, j = np.argwhere(codes >= 0)[5]
    assert risk[i, j] == pytest.approx(1 - h[i, codes[i, j]], abs=1e-6)
    assert ((model.uncertainty(x) > 0) & (model.uncertainty(x) <= 1 + 1e-6)).all()


def test_texts_are_read_through_an_encoder() -> None:
    class Letters:
        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[text.count(letter) for letter in "ab"] for text in texts], np.float32)

    texts = ["a", "aa", "b", "bb"] * 30
    codes = np.array([[0, 0], [0, -1], [1, 1], [-1, 1]] * 30)
    model = small(encoder=Letters(), epochs=40).fit(texts, Votes(codes, classes=["A", "B"]))
    assert model.predict(["aaa", "bbb"]).tolist() == [0, 1]


def test_mistakes_are_named() -> None:
    x, _, codes = simulate(60, seed=0)
    votes = Votes(codes, classes=NAMES)
    cases = [
        (lambda: small().fit(x[:50], votes), "50 rows of data but 60 rows of votes"),
        (lambda: small().fit(x, Votes(np.full((60, 2), -1), classes=NAMES)), "no source votes on any row"),
        (lambda: small(weights=[1, 2]).fit(x, votes), "one per source"),
        (lambda: small(weights="best").fit(x, votes), "'max_eig', 'min_var'"),
        (lambda: small(held_out=1.0).fit(x, votes), r"held_out must be in \[0, 1\)"),
        (lambda: small().predict(x), "not fitted"),
        (lambda: small().fit(np.full_like(x, np.nan), votes), "row 0 of the features is not finite"),
        (lambda: small().fit(np.zeros((60, 6), np.float32), votes), "says the same of every row"),
        (lambda: small(epochs=1).fit(x, votes).predict(x[:, :3]), "3 features"),
        (lambda: small(epochs=1).fit(x, votes).risk(x, np.full(60, 7)), "class indices below 3"),
        (lambda: small(learning_rate=1e30).fit(x, votes), "diverged"),
    ]
    for call, message in cases:
        with pytest.raises(LabelModelError, match=message):
            call()
    with pytest.raises(ConfigError, match="aggregation must be"):
        small(aggregation="cubic").fit(x, votes)
