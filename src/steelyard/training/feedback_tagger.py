"""Tags learned from few strong and many weak documents: a teacher completes weak tags, a student learns them, and its progress judges them.

Zhang et al. 2021, "QUEACO"; feedback as in Pham et al. 2021, "Meta Pseudo Labels". The rule of refinement is not published and is
reconstructed. Where weak tags already are better than a model of the strong ones alone, plain training on them is the better choice;
feedback has made small teachers worse (see `steelyard.recipes.queaco`): compare with `feedback=0` on held-out documents.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from steelyard.errors import TrainingError

Span = tuple[int, int, str]
Documents = Sequence[Sequence[str]]
Refine = Literal["keep-weak", "teacher", "weak-as-is"]
_BUCKETS = 1 << 15
_REACH = 2


class FeedbackTagger:
    r"""Teacher and student of the same kind; only the student is kept.

    The teacher T learns the strong documents. Then, on batches x_w with weak tags y_w (unknown where nothing matched) and x_s with y_s:

        ỹ_t = y_w,t where it is known and T gives it at least ``keep_threshold``, argmax T(x_w)_t elsewhere, with weight max T there
        student:  θ' = θ - η ∇ CE_w(S(x_w), ỹ)
        h = CE(S_θ(x_s), y_s) - CE(S_θ'(x_s), y_s)    minus its moving average
        teacher:  descend CE(T(x_s), y_s) + ``feedback`` · h · CE(T(x_w), ỹ)

    so that tags which helped become more probable. At last the student is tuned on the strong documents.

    Parameters
    ----------
    classes : sequence of str
        `O`, `B-…`, `I-…`.
    refine : {"keep-weak", "teacher", "weak-as-is"}
        As above; take the teacher's tags everywhere (self-training); or take weak tags as they are, unknown as `O`.
    keep_threshold : float in [0, 1]
    feedback : float
        λ_h; 0 leaves the teacher as the strong documents made it.
    steps, finetune_steps : int
        Updates on weak documents, and of the student on strong ones afterwards (0: none). The teacher first takes ``steps`` on strong ones.
    batch_size : int
        Documents of each kind per update.
    learning_rate : float
    network : callable, optional
        Makes a module that maps token features (tokens, f) int64 to logits (tokens, k); an embedding bag and a linear layer when left out.
    featurize : callable, optional
        Turns documents into (tokens, f) int64; hashed words, affixes and shapes in a window of ±2 when left out.
    seed : int

    Attributes
    ----------
    student_, teacher_ : nn.Module
    history_ : list of dict
        Loss, h and the share of entity tags among ỹ by step: a share that falls to 0 tells that the teacher collapsed.

    Examples
    --------
    >>> strong = [["buy", "nike", "shoes"], ["red", "adidas", "bag"]] * 4
    >>> codes = [[0, 1, 0], [0, 1, 0]] * 4
    >>> tagger = FeedbackTagger(("O", "B-brand", "I-brand"), steps=6, finetune_steps=3, learning_rate=0.05)
    >>> tagger = tagger.fit(strong, codes, strong, codes)
    >>> tagger.predict_spans([["buy", "nike", "bag"]])
    [[(1, 2, 'brand')]]
    """

    def __init__(
        self,
        classes: Sequence[str],
        refine: Refine = "keep-weak",
        keep_threshold: float = 0.02,
        feedback: float = 1.0,
        steps: int = 300,
        finetune_steps: int = 100,
        batch_size: int = 8,
        learning_rate: float = 0.01,
        network: Callable[[], nn.Module] | None = None,
        featurize: Callable[[Documents], NDArray[np.int64]] | None = None,
        seed: int = 0,
    ) -> None:
        if refine not in ("keep-weak", "teacher", "weak-as-is"):
            raise TrainingError(f"refine must be 'keep-weak', 'teacher' or 'weak-as-is', got '{refine}'")
        if "O" not in classes:
            raise TrainingError(f"classes must hold 'O' for words outside every span, got {', '.join(classes)}")
        self.classes = tuple(classes)
        self.refine = refine
        self.keep_threshold = keep_threshold
        self.feedback = feedback
        self.steps = steps
        self.finetune_steps = finetune_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.network = network
        self.featurize = featurize
        self.seed = seed

    def fit(self, strong: Documents, strong_codes: Sequence[ArrayLike], weak: Documents = (), weak_codes: Sequence[ArrayLike] = ()) -> Self:
        """Learn from documents with gold tags and, where given, documents with weak ones.

        Parameters
        ----------
        strong, weak : sequences of documents, each a sequence of words
        strong_codes, weak_codes : one (words,) array of class indices per document
            -1 in weak codes: unknown. Without weak documents the student is the teacher.

        Raises
        ------
        TrainingError
            There are no strong documents, or tags and words differ in number.
        """
        gold, noisy = self._corpus(strong, strong_codes, "strong"), self._corpus(weak, weak_codes, "weak")
        if not len(gold) or any(int(codes.min()) < 0 for _, codes in gold if len(codes)):
            raise TrainingError("FeedbackTagger needs strong documents in which every word has a tag; unknown words belong to weak ones")
        torch.manual_seed(self.seed)
        make = self.network or (lambda: HashedTagger(len(self.classes)))
        self.teacher_, self.student_ = make(), make()
        self.history_: list[dict[str, float]] = []
        random = np.random.default_rng(self.seed)
        self._train(self.teacher_, gold, self.steps, self.learning_rate, random)
        if not len(noisy):
            self.student_ = copy.deepcopy(self.teacher_)
            return self
        self._learn_together(gold, noisy, random)
        self._train(self.student_, gold, self.finetune_steps, self.learning_rate / 3, random)
        return self

    def predict(self, documents: Documents) -> list[list[str]]:
        """Tags of every document, by the student."""
        if not hasattr(self, "student_"):
            raise TrainingError("this FeedbackTagger is not trained yet; call `fit` first")
        bounds = np.cumsum([0, *map(len, documents)])
        with torch.inference_mode():
            best = self.student_(torch.from_numpy(self._features(documents))).argmax(1).tolist()
        return [[self.classes[code] for code in best[a:b]] for a, b in pairwise(bounds)]

    def predict_spans(self, documents: Documents) -> list[list[Span]]:
        """Spans (start, end, type) of every document; an `I-` that continues nothing begins one."""
        from steelyard.training.token_student import bio_spans

        return [bio_spans(tags) for tags in self.predict(documents)]

    def _learn_together(self, gold: _Corpus, noisy: _Corpus, random: np.random.Generator) -> None:
        teach, learn = (torch.optim.Adam(m.parameters(), lr=self.learning_rate) for m in (self.teacher_, self.student_))
        baseline = 0.0
        for _ in range(self.steps):
            x_s, y_s = gold.batch(self.batch_size, random)
            x_w, y_w = noisy.batch(self.batch_size, random)
            with torch.no_grad():
                target, weight = refine_tags(self.teacher_(x_w).softmax(1), y_w, self.refine, self.keep_threshold, self.classes.index("O"))
                before = float(nn.functional.cross_entropy(self.student_(x_s), y_s)) if self.feedback else 0.0
            loss = _weighted(self.student_(x_w), target, weight)
            _step(learn, loss)
            entities = float((target != self.classes.index("O")).float().mean())
            self.history_.append({"loss": float(loss.detach()), "h": 0.0, "entities": entities})
            if self.feedback and self.refine != "weak-as-is":
                with torch.no_grad():
                    h = before - float(nn.functional.cross_entropy(self.student_(x_s), y_s))
                self.history_[-1]["h"] = h
                _step(teach, feedback_loss(self.teacher_, (x_s, y_s), (x_w, target), self.feedback * (h - baseline)))
                baseline = 0.99 * baseline + 0.01 * h

    def _train(self, module: nn.Module, corpus: _Corpus, steps: int, rate: float, random: np.random.Generator) -> None:
        optimizer = torch.optim.Adam(module.parameters(), lr=rate)
        for _ in range(steps):
            x, y = corpus.batch(self.batch_size, random)
            _step(optimizer, nn.functional.cross_entropy(module(x), y))

    def _features(self, documents: Documents) -> NDArray[np.int64]:
        return hashed_features(documents) if self.featurize is None else self.featurize(documents)

    def _corpus(self, documents: Documents, codes: Sequence[ArrayLike], kind: str) -> _Corpus:
        tags = [np.asarray(each, dtype=np.int64).reshape(-1) for each in codes]
        if [len(words) for words in documents] != [len(each) for each in tags]:
            raise TrainingError(f"{kind} documents and their tags differ in number; give one class index per word")
        if any(each.size and each.max() >= len(self.classes) for each in tags):
            raise TrainingError(f"{kind} documents have tags beyond the {len(self.classes)} classes {', '.join(self.classes)}")
        return _Corpus(self._features(documents), np.concatenate([np.zeros(0, np.int64), *tags]), np.cumsum([0, *map(len, tags)]))


def refine_tags(teacher: Tensor, weak: Tensor, refine: Refine, keep_threshold: float, outside: int) -> tuple[Tensor, Tensor]:
    """Tags to teach the student (t,) and their weights (t,), from teacher probabilities (t, k) and weak tags (t,), -1 = unknown.

    Examples
    --------
    >>> teacher = torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.3, 0.7]])
    >>> [part.tolist() for part in refine_tags(teacher, torch.tensor([1, 1, -1]), "keep-weak", 0.02, 0)]
    [[1, 0, 1], [1.0, 0.9900000095367432, 0.699999988079071]]
    """
    sure, filled = teacher.max(1)
    if refine == "weak-as-is":
        return weak.where(weak >= 0, torch.tensor(outside)), torch.ones(len(weak))
    # A weak `O` says no more than that nothing matched.
    keep = (weak >= 0) & (weak != outside) & (teacher.gather(1, weak.clamp(min=0)[:, None])[:, 0] >= keep_threshold)
    keep = keep if refine == "keep-weak" else torch.zeros_like(keep)
    return torch.where(keep, weak, filled), torch.where(keep, 1.0, sure)


def feedback_loss(teacher: nn.Module, strong: tuple[Tensor, Tensor], weak: tuple[Tensor, Tensor], gain: float) -> Tensor:
    """CE(T(x_s), y_s) + gain · CE(T(x_w), ỹ): descending it makes tags with a positive gain more probable, with a negative one less.

    Examples
    --------
    >>> x, y = torch.eye(2), torch.tensor([0, 1])
    >>> round(float(feedback_loss(nn.Identity(), (x, y), (x, y), gain=-1.0)), 6)
    0.0
    """
    return nn.functional.cross_entropy(teacher(strong[0]), strong[1]) + gain * nn.functional.cross_entropy(teacher(weak[0]), weak[1])


class HashedTagger(nn.Module):
    """Sum of embeddings of hashed features, then a linear layer: the small tagger of proofs and of short queries."""

    def __init__(self, n_classes: int, width: int = 48) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(_BUCKETS, width, mode="sum")
        nn.init.normal_(self.bag.weight, std=0.05)
        self.out = nn.Linear(width, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(tokens, f) int64 features to (tokens, k) logits."""
        logits: Tensor = self.out(self.bag(features))
        return logits


def hashed_features(documents: Documents) -> NDArray[np.int64]:
    """(tokens, 25) buckets of word, prefix, suffix, shape and lower-cased word at each of five places around a token.

    Examples
    --------
    >>> hashed_features([["Nike", "shoes"]]).shape
    (2, 25)
    """
    known: dict[tuple[int, str], list[int]] = {}
    rows: list[list[int]] = []
    for words in documents:
        padded = ["<"] * _REACH + list(words) + [">"] * _REACH
        for place in range(len(words)):
            row: list[int] = []
            for offset, word in enumerate(padded[place : place + 2 * _REACH + 1]):
                found = known.get((offset, word))
                if found is None:
                    shape = "".join("X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word[:6])
                    parts = (word, word.lower()[:3], word.lower()[-3:], shape, word.lower())
                    found = [zlib.crc32(f"{offset}.{kind}.{part}".encode()) % _BUCKETS for kind, part in enumerate(parts)]
                    known[offset, word] = found
                row += found
            rows.append(row)
    return np.array(rows, dtype=np.int64).reshape(-1, 5 * (2 * _REACH + 1))


class _Corpus:
    """Features and tags of all tokens, with the bounds of the documents."""

    def __init__(self, features: NDArray[np.int64], codes: NDArray[np.int64], bounds: NDArray[np.int64]) -> None:
        self.features, self.codes, self.bounds = torch.from_numpy(features), torch.from_numpy(codes), bounds

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self):  # type: ignore[no-untyped-def]
        for a, b in pairwise(self.bounds):
            yield self.features[a:b], self.codes[a:b]

    def batch(self, size: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        chosen = random.choice(len(self), min(size, len(self)), replace=False)
        rows = torch.from_numpy(np.concatenate([np.arange(self.bounds[i], self.bounds[i + 1]) for i in chosen]))
        return self.features[rows], self.codes[rows]


def _weighted(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return (nn.functional.cross_entropy(logits, target, reduction="none") * weight).sum() / weight.sum().clamp(min=1e-6)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
