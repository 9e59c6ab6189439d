"""ConditionalHMM: a hidden Markov model of tags whose moves and whose sources' reliability depend on what the token looks like.

Li, Shetty, Liu, Zhang, Song (2021), "BERTifying the Hidden Markov Model for Multi-Source Weakly Supervised Named Entity Recognition".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import ConfigError, LabelModelError
from steelyard.label_models.base import Tie, as_votes
from steelyard.label_models.forward_backward import Marginals, forward_backward, viterbi
from steelyard.label_models.sequence_hmm import SequenceHMM, _Chunk, legal_moves
from steelyard.targets import Targets
from steelyard.vote_statistics import VoteStatistics, checked_gold
from steelyard.votes import Votes

Array = NDArray[np.float64]
Features = NDArray[np.float32]
_TOKENS_A_STEP = 2048
_NUMBERS_AT_ONCE = 1 << 23
_HELD_OUT = 0.1
_IMPOSSIBLE = -1e9


class ConditionalHMM(SequenceHMM):
    r"""SequenceHMM with tables that a token's embedding e tilts: T(e) = (1 - w) T + w softmax(log T + U e), and so for each source's E_j.

    T and E_j are the tables of a `SequenceHMM` fitted first. The networks begin with U = 0, which reproduces these tables exactly (what
    the paper reaches by pre-training on them); embeddings that never change therefore give the plain model. Then documents are taken a few
    at a time: their marginals under the current tables (E-step) and one step of Adam on the expected complete log-likelihood, in
    which the sequential vote counts `vote_weight` times as in the plain model (generalised EM). A tenth of the documents is kept
    back; training ends when the likelihood of their votes falls, and the best networks are kept.

    *Observation smoothing.* Where some source sees an entity, the silent ones say nothing; this is how `SequenceHMM` reads silence, and
    so does this model. A tag that nobody voted for remains impossible.

    Parameters
    ----------
    n_steps, vote_weight, redundancy
        Of the plain model, see `SequenceHMM`.
    transition_weight, emission_weight : float in [0, 1]
        How much of the moves and of the sources' tables the networks decide (w).
    epochs : int
        At most so many passes.
    learning_rate : float
        By how much a step may move a log-odds; Adam's rate is this divided by d.
    seed : int
        Which documents are kept back, and the order of the others.

    Attributes
    ----------
    transition_network_ : (d, k, k) float32
        U of the moves.
    emission_network_ : (d, m, k, S + 1) float32
        U of the sources' tables.
    embedding_mean_, embedding_scale_ : (d,) float32
        Embeddings are standardised with these.
    history_ : (epochs made + 1,) float64
        Held-out log-likelihood per token, the plain model's first.

    Notes
    -----
    Embeddings are an argument of `fit`, `predict`, `predict_proba`, `score` and `targets`: one row per token, in the order of the votes,
    from any encoder (a word's is usually the mean over its word pieces). They are data, like votes, not a setting: a model that
    held an encoder could be neither cloned nor saved without it, and would embed the same tokens again at every call.

    `confusions_`, `transition_` and `accuracies_` are the plain model's: averages over tokens. Fitting needs torch, prediction does not.
    `partial_fit` is refused: the networks of earlier documents cannot be merged with those of later ones.

    *When it pays.* Where the embedding tells how reliable a source is, errors fall by a third in simulation. On NCBI-Disease and BC5CDR
    with frozen MiniLM embeddings the model is as good as `SequenceHMM` and no better (test F1 77.8 and 83.9 beside 78.1 and 83.9; the vote
    72.6 and 81.6): what is missed there are words that no source knows. The paper's gain over its plain model does not appear.

    The paper's second half alternates: train a tagger on `targets`, add its tags as one more source (`Votes.with_sources`), fit again.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y, rare = rng.integers(0, 2, 3000), rng.random((3000, 3)) < 0.5
    >>> codes = np.where(rng.random((3000, 3)) < np.where(rare, 0.55, 0.95), y[:, None], 1 - y[:, None])
    >>> votes = Votes(codes, classes=["a", "b"], groups=np.arange(0, 3001, 30))
    >>> plain, conditional = SequenceHMM().fit(votes), ConditionalHMM(learning_rate=0.2).fit(votes, embeddings=rare)
    >>> bool(conditional.score(votes, y, embeddings=rare) > plain.score(votes, y))
    True
    """

    def __init__(
        self,
        n_steps: int = 4,
        vote_weight: float = 3.0,
        redundancy: float = 0.1,
        transition_weight: float = 0.5,
        emission_weight: float = 0.5,
        epochs: int = 5,
        learning_rate: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(n_steps, vote_weight, redundancy)
        self.transition_weight = transition_weight
        self.emission_weight = emission_weight
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None, embeddings: ArrayLike | None = None) -> Self:
        """Fit from the votes on tokens and their embeddings (n, d); `y` (n,) may hold gold tags, -1 = unknown.

        Raises
        ------
        LabelModelError
            As `SequenceHMM.fit`, or when embeddings are missing, are not finite or are not one row per token.
        ConfigError
            When torch is not installed.
        """
        if not (0 <= self.transition_weight <= 1 and 0 <= self.emission_weight <= 1):
            raise LabelModelError(
                f"transition_weight and emission_weight must lie in [0, 1], got {self.transition_weight} and {self.emission_weight}"
            )
        super().fit(votes, y)
        assert not isinstance(votes, VoteStatistics)
        held = as_votes(votes)
        features = _checked_embeddings(embeddings, held)
        mean = features.mean(axis=0, dtype=np.float64)
        spread = np.sqrt(np.maximum(np.einsum("nd,nd->d", features, features, dtype=np.float64) / len(features) - mean**2, 0))
        self.embedding_mean_ = mean.astype(np.float32)
        # A column that never changes says nothing and stays at zero.
        self.embedding_scale_ = np.where(spread > 1e-4 * np.abs(mean), spread, np.inf).astype(np.float32)
        _train(self, held, checked_gold(y, held.n_rows, held.n_classes), self._standardised(features))
        return self

    def partial_fit(self, votes: Votes | VoteStatistics | ArrayLike, y: ArrayLike | None = None) -> NoReturn:
        """Refused; see the notes."""
        raise LabelModelError("ConditionalHMM learns from all documents at once; call `fit` with all of them")

    def predict_proba(self, votes: Votes | ArrayLike, embeddings: ArrayLike | None = None) -> NDArray[np.float32]:
        """Marginal probabilities of the tags (n, k), given the embeddings (n, d) of the tokens."""
        chunks = self._chunks(votes, embeddings)
        return np.concatenate([chunk.marginals(self).states.astype(np.float32) for chunk in chunks])

    def predict(
        self, votes: Votes | ArrayLike, tie: Tie = "prior", seed: int = 0, embeddings: ArrayLike | None = None
    ) -> NDArray[np.int64]:
        """Most probable tag sequence of each document (n,), by Viterbi; `tie` and `seed` are there for the common interface only."""
        chunks = self._chunks(votes, embeddings)
        return np.concatenate([viterbi(chunk.log_emissions(self), chunk.offsets, self.start_, chunk.transitions(self)) for chunk in chunks])

    def score(self, votes: Votes | ArrayLike, y: ArrayLike, embeddings: ArrayLike | None = None) -> float:
        """Accuracy of `predict` on tokens whose tag is known (-1 = unknown)."""
        gold = np.asarray(y)
        if not (gold >= 0).any():
            raise LabelModelError("no known labels to score against; give at least one label that is not -1")
        return float((self.predict(votes, embeddings=embeddings) == gold)[gold >= 0].mean())

    def targets(self, votes: Votes | ArrayLike, covered_only: bool = True, embeddings: ArrayLike | None = None) -> Targets:
        """Probabilistic tags for a student; tokens without any vote are left out unless `covered_only=False`."""
        checked = self._checked(votes)
        targets = Targets(self.predict_proba(checked, embeddings), classes=self.classes_)
        return targets.take(np.flatnonzero(checked.coverage)) if covered_only else targets

    def _chunks(self, votes: Votes | ArrayLike, embeddings: ArrayLike | None) -> Iterator[_EmbeddedChunk]:
        checked = self._checked(votes)
        features = _checked_embeddings(embeddings, checked)
        if features.shape[1] != len(self.embedding_mean_):
            raise LabelModelError(f"embeddings have {features.shape[1]} columns, the model was fitted with {len(self.embedding_mean_)}")
        gold = checked_gold(None, checked.n_rows, checked.n_classes)
        documents = np.arange(len(_offsets(checked)) - 1)
        at_once = max(1, _NUMBERS_AT_ONCE // (features.shape[1] + checked.n_classes**2))
        return _batches(checked, gold, self._standardised(features), documents, at_once)

    def _standardised(self, features: Features) -> Features:
        return np.asarray((features - self.embedding_mean_) / self.embedding_scale_, dtype=np.float32)


class _EmbeddedChunk(_Chunk):
    """Whole documents with the embeddings of their tokens."""

    def __init__(self, votes: Votes, offsets: NDArray[np.int64], gold: NDArray[np.int64], features: Features) -> None:
        super().__init__(votes, offsets, gold)
        self.features = features
        codes = votes.codes.astype(np.int64)
        silent = codes < 0 if self.outside is None else (codes < 0) | (codes == self.outside)
        self.said = np.where(silent, len(votes.support), codes)
        self.speaking = np.arange(self.n_rows) if self.outside is None else np.flatnonzero(self.covered)

    def log_emissions(self, model: SequenceHMM) -> Array:
        """(n, k) as the plain model has them, each spoken vote with the odds of its tilted to its plain table."""
        assert isinstance(model, ConditionalHMM)
        scores, w = super().log_emissions(model), model.emission_weight
        m, _, symbols = model.emissions_.shape
        for j in range(m):
            at = np.flatnonzero(self.said[:, j] < symbols - 1)
            said = self.said[at, j]
            plain = np.maximum(model.emissions_[j], 1e-12)
            tilt = np.tensordot(self.features[at], model.emission_network_[:, j], axes=1)
            tilted = np.take_along_axis(_softmax(np.log(plain) + tilt), said[:, None, None], axis=2)[:, :, 0]
            scores[at] += model.source_weights_[j, said, None] * np.log(1 - w + w * tilted / plain[:, said].T)
        return scores

    def transitions(self, model: ConditionalHMM) -> Array:
        """(n, k, k) tilted moves to each token."""
        w = model.transition_weight
        tilt = np.tensordot(self.features, model.transition_network_, axes=1)
        return np.asarray((1 - w) * model.transition_ + w * _softmax(_log_moves(model) + tilt))

    def marginals(self, model: SequenceHMM) -> Marginals:
        assert isinstance(model, ConditionalHMM)
        return forward_backward(self.log_emissions(model), self.offsets, model.start_, self.transitions(model))


def _train(model: ConditionalHMM, votes: Votes, gold: NDArray[np.int64], features: Features) -> None:
    """Generalised EM with early stopping; sets the networks, `history_` and what goes with it."""
    torch = _import_torch()
    (m, k, symbols), d = model.emissions_.shape, features.shape[1]
    networks = [torch.zeros((d, k, k), requires_grad=True), torch.zeros((d, m, k, symbols), requires_grad=True)]
    optimizer = torch.optim.Adam(networks, lr=model.learning_rate / d)
    # The model reads the very memory that the optimizer writes.
    model.transition_network_, model.emission_network_ = (network.detach().numpy() for network in networks)
    rng = np.random.default_rng(model.seed)
    documents = rng.permutation(len(_offsets(votes)) - 1)
    n_held = int(_HELD_OUT * len(documents))
    held_out, learned = (documents[:n_held], documents[n_held:]) if n_held else (documents, documents)
    # Few tokens make twenty steps a pass all the same.
    a_step = max(1, min(_TOKENS_A_STEP, votes.n_rows // 20, _NUMBERS_AT_ONCE // (m * k * symbols)))

    def likelihood() -> float:
        parts = list(_batches(votes, gold, features, held_out, _TOKENS_A_STEP))
        return sum(part.marginals(model).log_likelihood for part in parts) / max(sum(part.n_rows for part in parts), 1)

    history = [likelihood()]
    best = [network.copy() for network in (model.transition_network_, model.emission_network_)]
    while len(history) <= model.epochs:
        for chunk in _batches(votes, gold, features, rng.permutation(learned), a_step):
            loss = -_expected_log_likelihood(torch, model, chunk, networks) / chunk.n_rows
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append(likelihood())
        if history[-1] < max(history[:-1]):
            break
        best = [network.copy() for network in (model.transition_network_, model.emission_network_)]
    model.transition_network_, model.emission_network_ = best
    model.history_ = np.array(history)
    model.n_iter_, model.converged_, model.log_likelihood_ = len(history) - 1, history[-1] < max(history), max(history)


def _expected_log_likelihood(torch: Any, model: ConditionalHMM, chunk: _EmbeddedChunk, networks: list[Any]) -> Any:
    """Σ over tokens of the expected log of moves and of what each source says, as a torch scalar."""
    found, voted = chunk.marginals(model), chunk.sequential_vote()
    before = np.vstack([voted[:1], voted[:-1]])
    inside = np.ones(chunk.n_rows)
    inside[chunk.offsets[:-1][np.diff(chunk.offsets) > 0]] = 0
    moves = found.moves + model.vote_weight * (inside[:, None] * before)[:, :, None] * voted[:, None]
    states = (found.states + model.vote_weight * voted)[chunk.speaking]

    def mixed(table: Array, log_table: Array, rows: Any, network: Any, w: float) -> Any:
        tilted = torch.softmax(torch.from_numpy(log_table).float() + torch.tensordot(rows, network, dims=1), dim=-1)
        return torch.log((1 - w) * torch.from_numpy(table).float() + w * tilted + 1e-12)

    features = torch.from_numpy(chunk.features)
    log_moves = mixed(model.transition_, _log_moves(model), features, networks[0], model.transition_weight)
    log_tables = np.log(np.maximum(model.emissions_, 1e-12))
    log_said = mixed(model.emissions_, log_tables, features[chunk.speaking], networks[1], model.emission_weight)
    said = torch.from_numpy(chunk.said[chunk.speaking])[:, :, None, None].expand(-1, -1, log_said.shape[2], 1)
    expected = (torch.from_numpy(moves).float() * log_moves).sum()
    return expected + (torch.from_numpy(states).float()[:, None, :] * log_said.gather(3, said)[..., 0]).sum()


def _batches(
    votes: Votes, gold: NDArray[np.int64], features: Features, documents: NDArray[np.int64], tokens: int
) -> Iterator[_EmbeddedChunk]:
    """Whole documents in the order given, about so many tokens at a time."""
    groups = _offsets(votes)
    lengths = np.diff(groups)[documents]
    part = np.maximum(lengths.cumsum() - 1, 0) // tokens
    cuts = np.flatnonzero(np.diff(part)) + 1
    for some, length in zip(np.split(documents, cuts), np.split(lengths, cuts), strict=True):
        offsets = np.concatenate([[0], length.cumsum()])
        rows = np.repeat(groups[some] - offsets[:-1], length) + np.arange(offsets[-1])
        yield _EmbeddedChunk(votes.take(rows), offsets, gold[rows], features[rows])


def _offsets(votes: Votes) -> NDArray[np.int64]:
    return np.arange(votes.n_rows + 1) if votes.groups is None else votes.groups


def _log_moves(model: ConditionalHMM) -> Array:
    _, legal = legal_moves(model.classes_)
    return np.where(legal, np.log(np.maximum(model.transition_, 1e-12)), _IMPOSSIBLE)


def _softmax(scores: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _checked_embeddings(embeddings: ArrayLike | None, votes: Votes) -> Features:
    if embeddings is None:
        raise LabelModelError("ConditionalHMM needs the tokens' embeddings; give embeddings=array of shape (tokens, d)")
    features = np.asarray(embeddings, dtype=np.float32)
    if features.ndim != 2 or len(features) != votes.n_rows or features.shape[1] == 0:
        raise LabelModelError(f"embeddings must have one row for each of the {votes.n_rows} tokens, got an array of shape {features.shape}")
    if not np.isfinite(features).all():
        raise LabelModelError("embeddings hold values that are not finite; look for NaN where a token has no word piece")
    return features


def _import_torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ConfigError('ConditionalHMM is fitted with torch; pip install "steelyard[torch]"') from None
    return torch
