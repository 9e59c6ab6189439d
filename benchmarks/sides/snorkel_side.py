"""Snorkel's side of the speed and memory benchmarks: `snorkel_side.py OPERATION FOLDER`. Runs in the `snorkel` environment."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from clock import answer, peak_growth, timed
from snorkel.labeling import PandasLFApplier, labeling_function
from snorkel.labeling.model import LabelModel, MajorityLabelVoter

folder = Path(sys.argv[2])


def whole_word_function(position: int, code: int, words: list[str]):
    """One compiled, case-insensitive whole-word search per row."""
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE)

    @labeling_function(name=f"rule_{position}")
    def rule(row):
        return code if pattern.search(row.text) else -1

    return rule


def substring_function(position: int, code: int, words: list[str]):
    """The keyword rule of Snorkel's tutorials."""

    @labeling_function(name=f"rule_{position}")
    def rule(row):
        return code if any(word in row.text.lower() for word in words) else -1

    return rule


def apply() -> None:
    make = {"substring": substring_function, "whole_word": whole_word_function}[sys.argv[3]]
    frame = pd.DataFrame({"text": (folder / "texts.txt").read_text().split("\n")})
    codes = {"HAM": 0, "SPAM": 1}
    rules = [make(i, codes[label], words) for i, (label, words) in enumerate(json.loads((folder / "rules.json").read_text()))]
    seconds, votes = timed(lambda: PandasLFApplier(rules).apply(frame, progress_bar=False))
    np.save(folder / "snorkel_votes.npy", votes.astype(np.int8))
    answer(seconds=seconds)


def votes_and_truth() -> tuple[np.ndarray, np.ndarray]:
    # int64 in row order is what Snorkel's own appliers return; the conversion is not timed.
    return np.load(folder / "votes.npy").astype(np.int64), np.load(folder / "truth.npy")


def majority() -> None:
    votes, truth = votes_and_truth()
    voter = MajorityLabelVoter(cardinality=2)
    seconds, predictions = timed(lambda: voter.predict(votes, tie_break_policy="random"))
    proba_seconds, _ = timed(lambda: voter.predict_proba(votes))
    answer(predict=seconds, predict_proba=proba_seconds, accuracy=float((predictions == truth).mean()))


def label_model() -> None:
    votes, truth = votes_and_truth()
    model = LabelModel(cardinality=2, verbose=False)
    fit, _ = timed(lambda: model.fit(votes, n_epochs=500, seed=0, progress_bar=False))
    proba_seconds, proba = timed(lambda: model.predict_proba(votes), repeats=3)
    predict, _ = timed(lambda: model.predict(votes))
    answer(fit=fit, predict_proba=proba_seconds, predict=predict, accuracy=float((proba.argmax(axis=1) == truth).mean()))


def memory() -> None:
    """Growth of resident memory during the operation named last, warmed up on a thousand rows."""
    votes, _ = votes_and_truth()
    model, voter = LabelModel(cardinality=2, verbose=False), MajorityLabelVoter(cardinality=2)

    def fit(rows: np.ndarray) -> None:
        model.fit(rows, n_epochs=500, seed=0, progress_bar=False)

    fit(votes[:1000])
    operation = {"fit": fit, "predict_proba": model.predict_proba, "majority": voter.predict_proba}[sys.argv[3]]
    operation(votes[:1000])
    growth, _ = peak_growth(lambda: operation(votes))
    answer(votes=votes.nbytes, growth=growth)


{"apply": apply, "majority": majority, "label_model": label_model, "memory": memory}[sys.argv[1]]()
