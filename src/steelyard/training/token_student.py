"""Tag the words of documents from probabilistic tags: the student of a sequence label model.

A Hugging Face token classifier reads each word at its first subword (Devlin et al. 2019, "BERT", section 5.3); documents longer than the
model's context are read in windows of whole words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import AutoModelForTokenClassification

from steelyard.errors import DataError, TrainingError
from steelyard.targets import Targets
from steelyard.training.fine_tuning import FineTunedStudent, add_lora, build, device_of
from steelyard.training.objective_trainer import train
from steelyard.training.objectives import Objective, SoftCrossEntropy
from steelyard.training.rows import column_of, training_rows
from steelyard.training.token_rows import context_length, ensure_padding, pad_rows

Window = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]
"""Token ids with special tokens; the places of first subwords among them; the words (counted over all documents) that begin there."""


class TokenStudent(FineTunedStudent):
    """A Hugging Face token classifier trained on probabilistic tags.

    Data are documents as lists of words; targets have one row per word of all documents, one after the other, in classes such as `O`,
    `B-Chemical`, `I-Chemical`. Words that the targets leave out (`filter`, weight 0) are read but not learned from.

    Parameters
    ----------
    model
        Hub name, local folder, or a pair (model with a token head, fast tokenizer); the pair is copied, not changed.
    objective
        The loss of a word; `SoftCrossEntropy()` when left out.
    tune
        `"full"`: all weights; `"lora"`: low-rank updates and the head, merged at the end.
    max_length
        Tokens of a window; by default what the model can take.
    on
        Column of the lists of words where data is a table.
    epochs, batch_size, learning_rate, warmup, weight_decay, seed, output_dir, checkpoint_steps, lora_rank, progress, arguments
        As in `StudentTrainer`; `batch_size` counts windows.

    Attributes
    ----------
    model_, tokenizer_
        The trained model and its tokenizer.
    history_
        Loss, learning rate and the objective's terms by step.

    Raises
    ------
    TrainingError
        From `fit`: one class only, as many targets as words are missing, a tokenizer that does not say which word a token comes from.

    Examples
    --------
    >>> bio_spans(["O", "B-Chemical", "I-Chemical", "B-Disease"])
    [(1, 3, 'Chemical'), (3, 4, 'Disease')]
    """

    auto = AutoModelForTokenClassification
    learning_rates: ClassVar[dict[str, float]] = {"full": 5e-5, "lora": 5e-4}

    def __init__(
        self,
        model: Any,
        objective: Objective | None = None,
        *,
        tune: Literal["full", "lora"] = "full",
        epochs: float = 3,
        batch_size: int = 16,
        learning_rate: float | None = None,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        seed: int = 0,
        max_length: int | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        checkpoint_steps: int = 500,
        lora_rank: int = 8,
        on: str = "tokens",
        progress: bool | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.tune = tune
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.seed = seed
        self.max_length = max_length
        self.output_dir = output_dir
        self.checkpoint_steps = checkpoint_steps
        self.lora_rank = lora_rank
        self.on = on
        self.progress = progress
        self.arguments = arguments

    def fit(self, data: Any, targets: Targets) -> Self:
        """Learn from documents and the targets of their words."""
        schedule = self._schedule()
        documents = documents_of(data, self.on)
        words = sum(map(len, documents))
        used = training_rows(words, targets, student="TokenStudent")
        objective = self.objective if self.objective is not None else SoftCrossEntropy()

        def fine_tune(folder: Any) -> None:
            lora = self.tune == "lora"
            # Byte-level tokenizers read a word of a list as the beginning of a text unless told so.
            model, tokenizer = build(self.auto, self.model, used.classes, seed=self.seed, lora=lora, add_prefix_space=True)
            ensure_padding(tokenizer, model)
            windows = list(_windows(tokenizer, documents, context_length(tokenizer, model, self.max_length)))
            dataset = _WordRows(windows, words, used.rows, used.probabilities, used.weights)
            model = add_lora(model, "TOKEN_CLS", self.lora_rank) if lora else model
            self.history_ = train(model, dataset, _PadWindows(tokenizer.pad_token_id), objective, schedule, folder=folder)
            self.model_ = model.merge_and_unload() if lora else model
            self.tokenizer_, self.truncated_, self.classes_ = tokenizer, 0, used.classes

        return self._fit_in_folder(documents, used, objective, fine_tune)

    def predict_proba(self, data: Any) -> NDArray[np.float32]:
        """Return (words of all documents, k) probabilities; a word the tokenizer cannot see is `O`, or uniform where there is no `O`."""
        self._check_fitted()
        documents = documents_of(data, self.on)
        k = len(self.classes_)
        unseen = np.eye(k)[self.classes_.index("O")] if "O" in self.classes_ else np.full(k, 1 / k)
        proba = np.tile(unseen.astype(np.float32), (sum(map(len, documents)), 1))
        windows = list(_windows(self.tokenizer_, documents, context_length(self.tokenizer_, self.model_, self.max_length)))
        windows.sort(key=lambda window: -len(window[0]))
        device = device_of(self.model_)
        self.model_.eval()
        with torch.inference_mode():
            for start in range(0, len(windows), 2 * self.batch_size):
                chunk = windows[start : start + 2 * self.batch_size]
                batch = pad_rows([ids for ids, _, _ in chunk], self.tokenizer_.pad_token_id)
                logits = self.model_(**{name: value.to(device) for name, value in batch.items()})["logits"]
                tags = logits.float().softmax(-1).cpu().numpy()
                for row, (_, places, words) in enumerate(chunk):
                    proba[words] = tags[row, places]
        return proba

    def predict_spans(self, data: Any) -> list[list[tuple[int, int, str]]]:
        """Return for each document its spans (first word, word after the last, type), read from the most probable tags."""
        documents = documents_of(data, self.on)
        tags = [self.classes_[code] for code in self.predict(documents)]
        bounds = np.concatenate([[0], np.cumsum([len(document) for document in documents], dtype=np.int64)])
        return [bio_spans(tags[start:stop]) for start, stop in pairwise(bounds)]


def bio_spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Read spans (start, end, type), end exclusive, from BIO tags; an `I-` that continues nothing begins a span.

    Raises
    ------
    DataError
        A tag is neither `O` nor begins with `B-` or `I-`.

    Examples
    --------
    >>> bio_spans(["I-x", "I-x", "B-x", "I-y", "O"])
    [(0, 2, 'x'), (2, 3, 'x'), (3, 4, 'y')]
    """
    spans: list[tuple[int, int, str]] = []
    for position, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if tag == "O":
            continue
        if prefix not in ("B", "I") or not kind:
            raise DataError(f"'{tag}' is not a BIO tag; spans need the classes O, B-<type> and I-<type>")
        if prefix == "I" and spans and spans[-1][1:] == (position, kind):
            spans[-1] = (spans[-1][0], position + 1, kind)
        else:
            spans.append((position, position + 1, kind))
    return spans


def documents_of(data: Any, on: str = "tokens") -> list[list[str]]:
    """Return documents as lists of words: such a list itself, or column `on` of a table.

    Raises
    ------
    DataError
        A document is no list of strings.

    Examples
    --------
    >>> documents_of({"tokens": [["a", "b"], ["c"]]})
    [['a', 'b'], ['c']]
    """
    is_list = isinstance(data, Sequence) and (len(data) == 0 or not isinstance(data[0], Mapping))
    documents: list[list[str]] = []
    for row, document in enumerate(data if is_list else column_of(data, on)):
        if isinstance(document, str) or not all(isinstance(word, str) for word in document):
            raise DataError(f"document {row} is not a list of words; split texts into words before tagging")
        documents.append(list(document))
    return documents


class _WordRows(Dataset[Any]):
    """Windows that hold at least one word to learn from, with the targets of those words."""

    def __init__(
        self, windows: list[Window], words: int, rows: NDArray[np.int64], probabilities: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> None:
        target = np.full(words, -1, dtype=np.int64)
        target[rows] = np.arange(len(rows))
        self.windows = [(ids, places[target[seen] >= 0], target[seen][target[seen] >= 0]) for ids, places, seen in windows]
        self.windows = [window for window in self.windows if len(window[1])]
        if not self.windows:
            raise TrainingError("TokenStudent: the tokenizer sees none of the words that have targets; check the words and the model")
        self.probabilities, self.weights = probabilities, weights

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> Any:
        ids, places, target = self.windows[row]
        return ids, places, self.probabilities[target], self.weights[target]


class _PadWindows:
    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: list[Any]) -> dict[str, torch.Tensor]:
        ids, places, targets, weights = zip(*rows, strict=True)
        batch = pad_rows(ids, self.pad)
        mask = np.zeros(tuple(batch["input_ids"].shape), dtype=bool)
        for row, columns in enumerate(places):
            mask[row, columns] = True
        batch["places"] = torch.from_numpy(mask)
        batch["targets"] = torch.from_numpy(np.concatenate(targets))
        batch["weights"] = torch.from_numpy(np.concatenate(weights))
        return batch


def _windows(tokenizer: Any, documents: list[list[str]], limit: int) -> Iterator[Window]:
    if not tokenizer.is_fast:
        raise TrainingError("TokenStudent needs a fast tokenizer, one that says which word a token comes from; choose a model that has one")
    room = limit - tokenizer.num_special_tokens_to_add()
    offset = 0
    for document in documents:
        if document:
            plain = tokenizer(document, is_split_into_words=True, add_special_tokens=False, verbose=False).word_ids(0)
            subwords = np.bincount(np.asarray(plain, dtype=np.int64), minlength=len(document))
            for start, stop in _fill(subwords, room):
                encoded = tokenizer(document[start:stop], is_split_into_words=True, truncation=True, max_length=limit)
                word = np.array([-1 if index is None else index for index in encoded.word_ids(0)], dtype=np.int64)
                places = np.flatnonzero((word >= 0) & (word != np.concatenate([[-1], word[:-1]])))
                if len(places):
                    yield np.asarray(encoded["input_ids"], dtype=np.int32), places, offset + start + word[places]
        offset += len(document)


def _fill(subwords: NDArray[np.int64], room: int) -> Iterator[tuple[int, int]]:
    """Cut a document into runs of words whose subwords fit into `room`; a longer word stands alone."""
    start, filled = 0, 0
    for position, size in enumerate(subwords.tolist()):
        if filled and filled + size > room:
            yield start, position
            start, filled = position, 0
        filled += size
    yield start, len(subwords)
