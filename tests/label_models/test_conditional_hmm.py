from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from steelyard import Votes, VoteStatistics
from steelyard.errors import LabelModelError
from steelyard.label_models import ConditionalHMM, LabelModel, SequenceHMM
from steelyard.label_models.forward_backward import forward_backward, viterbi
from steelyard.label_models.sequence_hmm import legal_moves
from tests.label_models import check_estimator

TAGS = ("O", "B-X", "I-X")


def random_chain(seed: int, lengths: list[int], k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return (
        np.log(rng.dirichlet(np.ones(k), n)),
        np.append(0, np.cumsum(lengths)),
        rng.dirichlet(np.ones(k)),
        rng.dirichlet(np.ones(k), (n, k)),
    )


class TestMovesOfTheirOwn:
    @pytest.mark.parametrize("seed", range(3))
    def test_agrees_with_enumeration(self, seed: int) -> None:
        lengths = [3, 0, 4, 1]
        emissions, offsets, start, transitions = random_chain(seed, lengths)
        found = forward_backward(emissions, offsets, start, transitions)
        best = viterbi(emissions, offsets, start, transitions)
        total = 0.0
        for first, length in zip(offsets, lengths, strict=False):
            if not length:
                continue
            paths = np.stack(np.meshgrid(*[np.arange(3)] * length, indexing="ij"), axis=-1).reshape(-1, length)
            weights = start[paths[:, 0]] * np.exp(emissions[first, paths[:, 0]])
            for t in range(1, length):
                weights *= transitions[first + t, paths[:, t - 1], paths[:, t]] * np.exp(emissions[first + t, paths[:, t]])
            total += np.log(weights.sum())
            assert best[first : first + length].tolist() == paths[weights.argmax()].tolist()
            weights /= weights.sum()
            for t in range(length):
                np.testing.assert_allclose(found.states[first + t], np.bincount(paths[:, t], weights, 3), atol=1e-12)
                moves = np.bincount(paths[:, t - 1] * 3 + paths[:, t], weights, 9).reshape(3, 3) if t else np.zeros((3, 3))
                np.testing.assert_allclose(found.moves[first + t], moves, atol=1e-12)
        assert found.log_likelihood == pytest.approx(total)

    def test_one_table_for_all_is_the_plain_chain(self) -> None:
        emissions, offsets, start, transitions = random_chain(5, [6, 2, 0, 9])
        same = np.broadcast_to(transitions[0], transitions.shape)
        found, plain = forward_backward(emissions, offsets, start, same), forward_backward(emissions, offsets, start, transitions[0])
        np.testing.assert_allclose(found.states, plain.states, atol=1e-12)
        np.testing.assert_allclose(found.moves.sum(axis=0), plain.moves, atol=1e-12)
        assert found.log_likelihood == pytest.approx(plain.log_likelihood)
        np.testing.assert_array_equal(viterbi(emissions, offsets, start, same), viterbi(emissions, offsets, start, transitions[0]))

    def test_no_tokens(self) -> None:
        found = forward_backward(np.empty((0, 2)), np.array([0, 0]), np.full(2, 0.5), np.empty((0, 2, 2)))
        assert found.states.shape == (0, 2)
        assert len(viterbi(np.empty((0, 2)), np.array([0]), np.full(2, 0.5), np.empty((0, 2, 2)))) == 0


def moody_sources(seed: int, n_documents: int = 200) -> tuple[Votes, np.ndarray, np.ndarray]:
    """Plain tags in documents of 20; on tokens whose embedding says so a source is hardly better than chance, else nearly always right."""
    rng = np.random.default_rng(seed)
    stays = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    y = np.empty((n_documents, 20), dtype=np.int64)
    y[:, 0] = rng.integers(0, 3, n_documents)
    for t in range(1, 20):
        y[:, t] = (rng.random(n_documents)[:, None] > stays.cumsum(axis=1)[y[:, t - 1]][:, :2]).sum(axis=1)
    y = y.ravel()
    embeddings = rng.normal(size=(len(y), 6)).astype(np.float32)
    accuracy = np.where(embeddings[:, :4] > 0, 0.95, 0.4)
    codes = np.where(rng.random((len(y), 4)) < accuracy, y[:, None], (y[:, None] + rng.integers(1, 3, (len(y), 4))) % 3)
    return Votes(codes, classes=["a", "b", "c"], groups=np.arange(n_documents + 1) * 20), embeddings, y


@pytest.mark.parametrize("seed", range(3))
def test_sources_whose_reliability_the_embedding_tells_are_weighed_token_by_token(seed: int) -> None:
    votes, embeddings, _ = moody_sources(seed)
    plain = SequenceHMM().fit(votes)
    model = ConditionalHMM().fit(votes, embeddings=embeddings)
    test, seen, truth = moody_sources(seed + 100)
    error, plain_error = 1 - model.score(test, truth, embeddings=seen), 1 - plain.score(test, truth)
    assert error < 0.75 * plain_error
    assert model.history_[1:].max() > model.history_[0]


@pytest.mark.parametrize("seed", range(3))
def test_moves_that_the_embedding_tells_are_learned(seed: int) -> None:
    """The tag changes where the embedding says so and nowhere else; the votes alone are poor."""
    rng = np.random.default_rng(seed)
    changes = rng.random((200, 20)) < 0.3
    y = (changes.cumsum(axis=1) + rng.integers(0, 2, (200, 1))).ravel() % 2
    embeddings = changes.ravel()[:, None].astype(float)
    codes = np.where(rng.random((len(y), 3)) < 0.7, y[:, None], 1 - y[:, None])
    votes = Votes(codes, classes=["a", "b"], groups=np.arange(201) * 20)
    model = ConditionalHMM(transition_weight=1, emission_weight=0, vote_weight=0.1, learning_rate=0.2).fit(votes, embeddings=embeddings)
    plain = SequenceHMM(vote_weight=0.1).fit(votes)
    assert 1 - model.score(votes, y, embeddings=embeddings) < 0.7 * (1 - plain.score(votes, y))


def tagged_documents(seed: int) -> tuple[Votes, np.ndarray, np.ndarray]:
    """Entities of two tokens in documents of 15, sources that miss, shorten and invent; embeddings that say nothing."""
    rng = np.random.default_rng(seed)
    y = np.zeros((150, 15), dtype=np.int64)
    begin = rng.integers(1, 13, 150)
    y[np.arange(150), begin], y[np.arange(150), begin + 1] = 1, 2
    y = y.ravel()
    codes = np.where(rng.random((len(y), 4)) < 0.6, y[:, None], 0)
    codes[(codes == 0) & (rng.random((len(y), 4)) < 0.01)] = 1
    return Votes(codes, classes=TAGS, groups=np.arange(151) * 15), rng.normal(size=(len(y), 3)), y


@pytest.mark.parametrize("make", [moody_sources, tagged_documents])
def test_embeddings_that_never_change_give_the_plain_model(make: object) -> None:
    votes, _, _ = make(0)  # type: ignore[operator]
    constant = np.full((votes.n_rows, 5), 3.7)
    plain, model = SequenceHMM().fit(votes), ConditionalHMM(epochs=2).fit(votes, embeddings=constant)
    np.testing.assert_allclose(model.predict_proba(votes, embeddings=constant), plain.predict_proba(votes), atol=1e-5)
    np.testing.assert_array_equal(model.predict(votes, embeddings=constant), plain.predict(votes))


def test_weights_of_zero_give_the_plain_model_whatever_the_embeddings() -> None:
    votes, embeddings, _ = moody_sources(0)
    model = ConditionalHMM(transition_weight=0, emission_weight=0, epochs=1).fit(votes, embeddings=embeddings)
    np.testing.assert_allclose(model.predict_proba(votes, embeddings=embeddings), SequenceHMM().fit(votes).predict_proba(votes), atol=1e-6)


def test_paths_keep_to_the_tagging_scheme_and_to_tags_that_were_voted_for() -> None:
    votes, embeddings, _ = tagged_documents(1)
    model = ConditionalHMM(transition_weight=1, emission_weight=1, learning_rate=1.0).fit(votes, embeddings=embeddings)
    path = model.predict(votes, embeddings=embeddings)
    _, moves = legal_moves(TAGS)
    assert moves[path[:-1], path[1:]][np.arange(1, len(path)) % 15 != 0].all()
    assert ((path == 0) | (votes.codes == path[:, None]).any(axis=1)).all()
    np.testing.assert_allclose(model.predict_proba(votes, embeddings=embeddings).sum(axis=1), 1, atol=1e-5)


def test_scale_and_origin_of_embeddings_do_not_matter() -> None:
    votes, embeddings, _ = moody_sources(2, n_documents=60)
    moved = 7.0 * embeddings + 3.0
    one = ConditionalHMM(epochs=2).fit(votes, embeddings=embeddings).predict_proba(votes, embeddings=embeddings)
    np.testing.assert_allclose(one, ConditionalHMM(epochs=2).fit(votes, embeddings=moved).predict_proba(votes, embeddings=moved), atol=1e-3)


def test_same_seed_same_bytes() -> None:
    votes, embeddings, _ = moody_sources(3, n_documents=60)
    one, other = (ConditionalHMM(epochs=2, seed=5).fit(votes, embeddings=embeddings) for _ in range(2))
    np.testing.assert_array_equal(one.emission_network_, other.emission_network_)


def test_gold_tags_hold_and_help() -> None:
    votes, embeddings, y = moody_sources(4, n_documents=100)
    known = np.where(np.arange(len(y)) < 1000, y, -1)
    options = {"transition_weight": 1, "emission_weight": 1, "learning_rate": 0.2, "epochs": 5}
    without, with_gold = (
        ConditionalHMM(**options).fit(votes, embeddings=embeddings),
        ConditionalHMM(**options).fit(votes, known, embeddings),
    )
    rest = np.where(known >= 0, -1, y)
    assert with_gold.score(votes, rest, embeddings=embeddings) > without.score(votes, rest, embeddings=embeddings) - 0.01


def test_round_trip(tmp_path: Path) -> None:
    votes, embeddings, y = moody_sources(5, n_documents=60)
    model = ConditionalHMM(epochs=2).fit(votes, embeddings=embeddings)
    model.save(tmp_path / "model.safetensors")
    again = LabelModel.load(tmp_path / "model.safetensors")
    assert isinstance(again, ConditionalHMM)
    np.testing.assert_array_equal(again.predict_proba(votes, embeddings=embeddings), model.predict_proba(votes, embeddings=embeddings))
    assert again.score(votes, y, embeddings=embeddings) == model.score(votes, y, embeddings=embeddings)


def test_targets_leave_out_tokens_without_votes() -> None:
    votes, embeddings, _ = tagged_documents(2)
    silent = Votes(np.where(votes.codes == 0, -1, votes.codes), classes=TAGS, groups=votes.groups)
    model = ConditionalHMM(epochs=1).fit(silent, embeddings=embeddings)
    assert len(model.targets(silent, embeddings=embeddings)) == silent.coverage.sum()
    assert len(model.targets(silent, covered_only=False, embeddings=embeddings)) == silent.n_rows


def test_rows_without_groups_are_documents_of_one_token() -> None:
    votes, embeddings, y = moody_sources(6, n_documents=30)
    alone = Votes(votes.codes, classes=votes.classes)
    model = ConditionalHMM(epochs=2, emission_weight=1).fit(alone, embeddings=embeddings)
    assert model.score(alone, y, embeddings=embeddings) > 0.5
    assert model.predict(alone.take([]), embeddings=embeddings[:0]).shape == (0,)


class WithoutEmbeddings(ConditionalHMM):
    """The common interface, which knows of no embeddings: every token looks the same."""

    def fit(self, votes: Any, y: Any = None, embeddings: Any = None) -> Self:
        return super().fit(votes, y, self._same(votes))

    def predict_proba(self, votes: Any, embeddings: Any = None) -> np.ndarray:
        return super().predict_proba(votes, self._same(votes))

    def predict(self, votes: Any, tie: Any = "prior", seed: int = 0, embeddings: Any = None) -> np.ndarray:
        return super().predict(votes, tie, seed, self._same(votes))

    def _same(self, votes: Any) -> np.ndarray:
        return np.ones((votes.n_rows, 2))


# Statistics and ties are not for sequences, a class of the tests cannot be loaded; the other laws hold with one row per sequence.
NOT_HERE = {"check_statistics_fit_is_the_row_fit", "check_ties", "check_silent_rows_get_the_prior", "check_round_trip"}


@pytest.mark.parametrize("check", [c for c in check_estimator.CHECKS if c.__name__ not in NOT_HERE], ids=lambda c: c.__name__)
def test_common_laws(check: check_estimator.Check) -> None:
    check(WithoutEmbeddings(epochs=1))


class TestErrors:
    def test_no_embeddings(self) -> None:
        votes, embeddings, _ = moody_sources(0, n_documents=10)
        with pytest.raises(LabelModelError, match="needs the tokens' embeddings"):
            ConditionalHMM().fit(votes)
        model = ConditionalHMM(epochs=0).fit(votes, embeddings=embeddings)
        with pytest.raises(LabelModelError, match="needs the tokens' embeddings"):
            model.predict(votes)

    def test_embeddings_of_other_tokens(self) -> None:
        votes, embeddings, _ = moody_sources(0, n_documents=10)
        with pytest.raises(LabelModelError, match="one row for each of the 200 tokens"):
            ConditionalHMM().fit(votes, embeddings=embeddings[:-1])
        with pytest.raises(LabelModelError, match="not finite"):
            ConditionalHMM().fit(votes, embeddings=np.where(embeddings > 2, np.nan, embeddings))
        model = ConditionalHMM(epochs=0).fit(votes, embeddings=embeddings)
        with pytest.raises(LabelModelError, match="4 columns, the model was fitted with 6"):
            model.predict_proba(votes, embeddings=embeddings[:, :4])

    def test_weights_outside_zero_and_one(self) -> None:
        votes, embeddings, _ = moody_sources(0, n_documents=10)
        with pytest.raises(LabelModelError, match="lie in"):
            ConditionalHMM(transition_weight=2).fit(votes, embeddings=embeddings)

    def test_statistics_and_streams(self) -> None:
        votes, embeddings, _ = moody_sources(0, n_documents=10)
        with pytest.raises(LabelModelError, match="order of tokens"):
            ConditionalHMM().fit(VoteStatistics.from_votes(votes), embeddings=embeddings)
        with pytest.raises(LabelModelError, match="all documents at once"):
            ConditionalHMM().partial_fit(votes)
