from __future__ import annotations

import numpy as np
import pytest

from steelyard import ABSTAIN, Votes
from steelyard.errors import LabelModelError
from steelyard.label_models import DawidSkene, MajorityVote
from tests.label_models.check_estimator import simulate


def planted(n: int, m: int, k: int, seed: int, abstain_by_class: bool = False) -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(k, 20.0))
    y = rng.choice(k, n, p=prior)
    theta = np.zeros((m, k, k + 1))
    for j in range(m):
        for c in range(k):
            spoken = rng.dirichlet(np.where(np.arange(k) == c, 6.0 * k, 3.0))
            silence = rng.uniform(0.05, 0.5) if abstain_by_class else 0.1 + 0.02 * j
            theta[j, c] = [*(spoken * (1 - silence)), silence]
    cumulative = theta.cumsum(axis=2)
    draws = rng.random((n, m))
    codes = np.stack([(draws[:, [j]] > cumulative[j, y]).sum(axis=1) for j in range(m)], axis=1)
    codes[codes == k] = ABSTAIN
    return Votes(codes, classes=[str(c) for c in range(k)]), y, theta, prior


@pytest.mark.parametrize("k", [2, 4])
def test_planted_confusions_are_recovered_as_n_grows(k: int) -> None:
    errors = []
    for n in (2_000, 200_000):
        votes, _, theta, prior = planted(n, 6, k, seed=k)
        model = DawidSkene(max_iter=500, tol=1e-9).fit(votes)
        errors.append(np.abs(model.confusions_ - theta).max())
        assert np.abs(model.class_prior_ - prior).max() < 5 / np.sqrt(n)
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 3


def test_abstentions_that_depend_on_the_class_are_learned() -> None:
    votes, y, theta, _ = planted(200_000, 6, 3, seed=1, abstain_by_class=True)
    modelled = DawidSkene(abstain="model", tol=1e-9, max_iter=500).fit(votes)
    assert np.abs(modelled.confusions_ - theta).max() < 0.02
    assert modelled.score(votes, y) > DawidSkene().fit(votes).score(votes, y)


@pytest.mark.parametrize("kind", ["full", "one-coin"])
@pytest.mark.parametrize("abstain", ["ignore", "model"])
@pytest.mark.parametrize("prior", [None, (1.0, 0.0), (2.0, 0.5)])
def test_the_objective_never_falls(kind: str, abstain: str, prior: tuple[float, float] | None) -> None:
    votes, y = simulate(700, 6, 3, seed=0, accuracy=0.55)
    gold = np.where(np.arange(700) < 50, y, -1)
    model = DawidSkene(kind=kind, abstain=abstain, prior=prior, tol=-np.inf, max_iter=60).fit(votes, gold)
    assert np.diff(model.objective_).min() > -1e-10


def test_one_step_by_hand() -> None:
    # Two rows agree on a, one row says a b; the majority start is q = (1, 1, 1/2) for class a.
    votes = Votes([[0, 0], [0, 0], [0, 1]], classes=["a", "b"])
    with pytest.warns(UserWarning, match="fewer than 3"):
        model = DawidSkene(prior=None, max_iter=1).fit(votes)
    np.testing.assert_allclose(model.confusions_[1, 0, :2], [2 / 2.5, 0.5 / 2.5], atol=1e-9)
    np.testing.assert_allclose(model.confusions_[1, 1, :2], [0.0, 1.0], atol=1e-9)


def test_em_written_out_row_by_row_gives_the_same() -> None:
    """An independent, slow EM over rows instead of patterns."""
    votes, _ = simulate(300, 4, 3, seed=5, accuracy=0.6)
    one_hot = (votes.codes[:, :, None] == np.arange(3)).astype(float)
    tally = one_hot.sum(axis=1)
    votes = votes[tally.sum(axis=1) > 0]
    one_hot, tally = one_hot[tally.sum(axis=1) > 0], tally[tally.sum(axis=1) > 0]
    q = tally / tally.sum(axis=1, keepdims=True)
    for _ in range(30):
        theta = np.einsum("nk,njl->jkl", q, one_hot)
        prior = q.mean(axis=0)
        theta = np.maximum(theta / theta.sum(axis=2, keepdims=True), 1e-10)
        log_q = np.log(prior) + np.einsum("njl,jkl->nk", one_hot, np.log(theta))
        q = np.exp(log_q - log_q.max(axis=1, keepdims=True))
        q /= q.sum(axis=1, keepdims=True)
    model = DawidSkene(prior=None, max_iter=30, tol=-np.inf).fit(votes)
    np.testing.assert_allclose(model.predict_proba(votes), q, atol=1e-6)


def test_without_a_prior_modelled_silence_is_a_symbol_like_any_other() -> None:
    """Plain maximum likelihood: the same EM written out with silence as the last class of votes; with a prior it is another maximum."""
    votes, *_ = planted(400, 5, 3, seed=7, abstain_by_class=True)
    votes = votes[votes.coverage]
    one_hot = (votes.codes[:, :, None] == [0, 1, 2, ABSTAIN]).astype(float)
    tally = one_hot[:, :, :-1].sum(axis=1)
    q = tally / tally.sum(axis=1, keepdims=True)
    for _ in range(40):
        theta = np.einsum("nk,njl->jkl", q, one_hot) / q.sum(axis=0)[:, None]
        prior = q.mean(axis=0)
        rows = prior * np.exp(np.einsum("njl,jkl->nk", one_hot, np.log(np.maximum(theta, 1e-300))))
        q = rows / rows.sum(axis=1, keepdims=True)
    model = DawidSkene(abstain="model", prior=None, max_iter=40, tol=-np.inf).fit(votes)
    np.testing.assert_allclose(model.confusions_, theta, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(votes), q, atol=1e-5)
    assert np.abs(DawidSkene(abstain="model", max_iter=40, tol=-np.inf).fit(votes).confusions_ - theta).max() > 1e-3


def test_two_sided_errors_on_real_crowds(data_root) -> None:
    import polars as pl

    votes, tasks = Votes.from_long(pl.read_parquet(data_root / "crowd_bluebirds/votes.parquet"))
    gold = (
        pl.DataFrame({"task": tasks})
        .join(pl.read_parquet(data_root / "crowd_bluebirds/gold.parquet"), on="task", how="left")["label"]
        .to_numpy()
    )
    assert MajorityVote().fit(votes).score(votes, gold) == pytest.approx(0.759, abs=0.01)
    assert DawidSkene().fit(votes).score(votes, gold) >= 0.88


@pytest.mark.parametrize("wrong", [{"kind": "two-coin"}, {"abstain": "maybe"}, {"prior": (-1.0, 0.0)}, {"max_iter": 0}])
def test_parameters_are_checked(wrong: dict) -> None:
    with pytest.raises(LabelModelError, match=next(iter(wrong))):
        DawidSkene(**wrong).fit(simulate(50, 3, 2, seed=0)[0])
