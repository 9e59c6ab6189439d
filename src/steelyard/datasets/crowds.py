"""Sets where people or language models answered: crowd workers, crowd counts, and nine models on legal coding tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.datasets.dataset import Dataset, decode_labels
from steelyard.votes import ABSTAIN, Votes

Paths = Mapping[str, Path]


def read_bluebirds(paths: Paths, subset: str | None) -> Dataset:
    """108 pictures (only their identifiers) with the votes of 39 workers."""
    classes = ("other", "indigo_bunting")
    answers = pl.read_parquet(paths["votes"]).with_columns(pl.col("label").replace_strict(dict(enumerate(classes)), return_dtype=pl.String))
    votes, tasks = Votes.from_long(answers, classes=classes)
    gold = pl.read_parquet(paths["gold"])
    table = pl.DataFrame({"task": tasks.cast(pl.String)}).join(gold, on="task", how="left", maintain_order="left")
    table = table.with_columns(decode_labels(table["label"].fill_null(ABSTAIN), classes))
    return Dataset("bluebirds", {"all": table}, classes, "task", votes={"all": votes})


def read_counts(paths: Paths, subset: str | None) -> Dataset:
    """Tweets with the number of crowd votes for each class; who voted is not known, so there are no `Votes`."""
    table = pl.read_parquet(paths["data"]).drop("label").rename({"label_name": "label"})
    return Dataset("counts", {"all": table}, ("hate", "offensive", "neither"), "text")


def read_model_answers(paths: Paths, subset: str | None) -> Dataset:
    """One legal coding task: cases, expert codes, and each model's answer with its probability as confidence.

    Options are named by their letter, with the option's text where the source gives it.
    """
    task = pl.read_parquet(paths["tasks"]).row(by_predicate=pl.col("task") == subset, named=True)
    texts = [*task["option_names"], *[""] * task["n_options"]][: task["n_options"]]
    classes = tuple(f"{chr(ord('A') + i)} {text}".strip() for i, text in enumerate(texts))
    cases = pl.read_parquet(paths["cases"]).filter(pl.col("task") == subset)
    answers = pl.read_parquet(paths["answers"]).filter(pl.col("task") == subset)
    models = sorted(answers["model"].unique())
    row_of = {case: row for row, case in enumerate(cases["case_id"])}
    codes = np.full((len(cases), len(models)), ABSTAIN, dtype=np.int8, order="F")
    confidences = np.ones(codes.shape, dtype=np.float32)
    for case, model, answer, probabilities in answers.select("case_id", "model", "answer", "probs").iter_rows():
        cell = row_of[case], models.index(model)
        codes[cell] = answer
        if probabilities is not None and 0 <= answer < len(probabilities):
            confidences[cell] = min(max(probabilities[answer], 0.0), 1.0)
    table = cases.with_columns(decode_labels(cases["gold"], classes)).select("case_id", "label")
    return Dataset(
        "answers", {"all": table}, classes, "case_id", votes={"all": Votes(codes, classes=classes, sources=models, confidences=confidences)}
    )
