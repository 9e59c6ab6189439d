"""steelyard's side of the speed and memory benchmarks: `steelyard_side.py OPERATION FOLDER`, one operation per fresh process."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import polars as pl
from clock import answer, peak_growth, timed

import steelyard as sy
from steelyard.sources.base import Source

what_to_run, folder = sys.argv[1], Path(sys.argv[2])


def texts_and_rules() -> tuple[pl.DataFrame, list]:
    return pl.DataFrame({"text": (folder / "texts.txt").read_text().split("\n")}), json.loads((folder / "rules.json").read_text())


def timed_apply(sources: list) -> None:
    frame, _ = texts_and_rules()
    sy.apply(sources, frame.head(100), classes=["HAM", "SPAM"])  # loads what is loaded lazily
    seconds, votes = timed(lambda: sy.apply(sources, frame, classes=["HAM", "SPAM"]), repeats=3)
    np.save(folder / f"{what_to_run.removeprefix('apply_')}_votes.npy", votes.codes)
    answer(seconds=seconds)


def apply_keywords() -> None:
    _, rules = texts_and_rules()
    whole = sys.argv[3] == "whole_word"
    timed_apply([sy.keywords(words, on="text", label=label, whole_words=whole, name=f"rule_{i}") for i, (label, words) in enumerate(rules)])


def apply_functions() -> None:
    """The bodies of Snorkel's side, word for word."""
    make = {"substring": substring_function, "whole_word": whole_word_function}[sys.argv[3]]
    _, rules = texts_and_rules()
    timed_apply([make(i, label, words) for i, (label, words) in enumerate(rules)])


def whole_word_function(position: int, label: str, words: list[str]) -> Source:
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE)

    @sy.labeling_function(name=f"rule_{position}")
    def rule(row):
        return label if pattern.search(row.text) else None

    return rule


def substring_function(position: int, label: str, words: list[str]) -> Source:
    @sy.labeling_function(name=f"rule_{position}")
    def rule(row):
        return label if any(word in row.text.lower() for word in words) else None

    return rule


def planted() -> tuple[sy.Votes, np.ndarray]:
    """Votes in steelyard's own layout, int8 columns, and the truth."""
    codes = np.load(folder / "votes.npy")
    classes = [f"class_{c}" for c in range(int(codes.max()) + 1)]
    return sy.Votes(np.asfortranarray(codes), classes=classes), np.load(folder / "truth.npy")


def majority() -> None:
    votes, truth = planted()
    model = sy.label_models.MajorityVote().fit(votes)
    model.predict(votes[:1000])
    predict, predictions = timed(lambda: model.predict(votes), repeats=5)
    # Snorkel's voter has no fit; ours learns the class prior that decides ties, so the sum is reported too.
    both, _ = timed(lambda: sy.label_models.MajorityVote().fit(votes).predict(votes), repeats=5)
    predict_proba, _ = timed(lambda: model.predict_proba(votes), repeats=5)
    answer(predict=predict, fit_predict=both, predict_proba=predict_proba, accuracy=float((predictions == truth).mean()))


def label_model() -> None:
    votes, truth = planted()
    as_snorkel = np.load(folder / "votes.npy").astype(np.int64)
    sy.label_models.MeTaL().fit(votes[:1000]).predict_proba(votes[:1000])
    fit, model = timed(lambda: sy.label_models.MeTaL().fit(votes), repeats=5)
    predict_proba, proba = timed(lambda: model.predict_proba(votes), repeats=5)
    from_int64, _ = timed(lambda: sy.label_models.MeTaL().fit(sy.Votes.from_snorkel(as_snorkel, classes=votes.classes)), repeats=3)
    predict, _ = timed(lambda: model.predict(votes), repeats=5)
    answer(
        fit=fit,
        predict_proba=predict_proba,
        predict=predict,
        fit_from_int64=from_int64,
        accuracy=float((proba.argmax(axis=1) == truth).mean()),
    )


def dawid_skene() -> None:
    votes, truth = planted()
    model = like_crowd_kit(20)
    like_crowd_kit(2).fit(votes[:1000]).predict_proba(votes[:1000])
    seconds, proba = timed(lambda: model.fit(votes).predict_proba(votes), repeats=3)
    rows, workers = np.nonzero(votes.codes >= 0)
    table = pl.DataFrame({"task": rows, "worker": workers, "label": votes.codes[rows, workers]})

    def from_long():
        again, _ = sy.Votes.from_long(table)
        return like_crowd_kit(20).fit(again).predict_proba(again)

    seconds_from_long, _ = timed(from_long, repeats=3)
    np.save(folder / "steelyard_proba.npy", proba)
    answer(seconds=seconds, seconds_from_long=seconds_from_long, accuracy=float((proba.argmax(axis=1) == truth).mean()))


def like_crowd_kit(n_iter: int) -> sy.label_models.LabelModel:
    """Maximum likelihood, abstentions missing at random, a fixed number of iterations."""
    return sy.label_models.DawidSkene(abstain="ignore", prior=None, max_iter=n_iter, tol=-np.inf)


def memory() -> None:
    """Growth of resident memory during the operation named last, which is warmed up on a thousand rows first."""
    what = sys.argv[3]
    votes, _ = planted()
    models = sy.label_models
    fits = {
        "majority": models.MajorityVote(),
        "metal": models.MeTaL(),
        "triplet": models.TripletModel(),
        "dawid_skene": models.DawidSkene(max_iter=20),
    }
    if what == "select":
        operation = models.select
    elif what == "summary":
        operation = sy.Votes.summary
    else:
        name = next(name for name in fits if what.startswith(name))
        model, verb = fits[name], what.removeprefix(f"{name}_")
        operation = getattr(model if verb == "fit" else model.fit(votes[:1000]), verb)
    operation(votes[:1000])
    growth, _ = peak_growth(lambda: operation(votes))
    answer(votes=votes.codes.nbytes, growth=growth)


if __name__ == "__main__":
    globals()[what_to_run]()
