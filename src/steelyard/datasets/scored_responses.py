"""Responses with scores of imperfect verifiers and known correctness: what a weighted ensemble of verifiers is tried on.

Grade-school solutions with rule verifiers, judges' verdicts on pairs of responses, language models' answers to legal questions, or a table.
"""

from __future__ import annotations

import ast
import operator
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from steelyard.datasets.resolve import DataFile, locate
from steelyard.datasets.tables import SUFFIXES, read_table
from steelyard.errors import DataError
from steelyard.verifier_scores import VerifierScores

_GSM = "gsm8k_weak_solutions"
_FILES = {
    _GSM: (
        DataFile(f"{_GSM}/gsm8k.parquet", "cbefe775eaf9a7f0760b090046e0a70e83e2404178194e5f8568febff4c5ed3f"),
        DataFile(f"{_GSM}/test_model_solutions.parquet", "a0fc819340f70c730c7bfffd737b77b8208a3d334217c829e511428b9a46bef8"),
    ),
    "judgebench_verdicts": (
        DataFile("judgebench_verdicts/pairs.parquet", "bf6f4b4a656afd1a4b97b08c1450fbd0b95b3cfb1cab0013f29993bc81e6626f"),
        DataFile("judgebench_verdicts/verdicts.parquet", "f85d0e0e05a73e802de66f749c2e99efbb18482faa7c7aa1a6691db14aac7ca6"),
    ),
    "llm_votes_legal": (
        DataFile("llm_votes_legal/cases.parquet", "aed05f14ba04be48614eb3e9efc5cfe4414fafd2655d2a7657c82ed74cac3001"),
        DataFile("llm_votes_legal/answers.parquet", "67742ba80637f3fab98195bc6b37f591bc19f15c4633abfa203ea93eafd8feb8"),
    ),
}
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ABOUT = {
    _GSM: ("MIT", "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems"),
    "judgebench_verdicts": ("unknown", "Tan et al. 2024, JudgeBench: A Benchmark for Evaluating LLM-based Judges"),
    "llm_votes_legal": ("unknown; the Supreme Court Database is CC BY-NC 3.0 US", "Dominguez-Olmedo et al. 2024, Lawma"),
}


def load_scores(name: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> tuple[VerifierScores, dict[str, str]]:
    """Load scored responses, and what to cite.

    Parameters
    ----------
    name
        ``gsm8k_weak_solutions`` (1,319 questions × 4 solutions; rules as verifiers), ``judgebench_verdicts`` (pairs of GPT-4o responses;
        six judges in both orders), ``llm_votes_legal`` or ``llm_votes_legal/TASK`` (options as responses; nine models as verifiers), or the
        path of a table as `VerifierScores.from_table` reads it.
    root
        Folder to read from instead of ``$STEELYARD_DATA`` and the cache.

    Raises
    ------
    DataError
        The name is unknown, a file is missing, or the table does not hold scores.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "scores.csv"
    >>> _ = file.write_text("query,answer,judge,rule\\na,7,0.9,1\\na,8,0.4,0\\nb,3,0.5,1\\n")
    >>> load_scores(file)[0]
    VerifierScores(2 queries, 3 responses, 2 verifiers)
    """
    if Path(name).suffix.lower() in SUFFIXES:
        return VerifierScores.from_table(read_table(name)), {"name": Path(name).stem, "licence": "the user's own", "citation": "–"}
    known, _, part = str(name).partition("/")
    if known not in _READERS:
        raise DataError(f"no scored responses named '{name}'; known are {', '.join(_READERS)}, or give the path of a table")
    paths = [locate(file, root=root) for file in _FILES[known]]
    licence, citation = _ABOUT[known]
    return _READERS[known](paths, part), {"name": str(name), "licence": licence, "citation": citation}


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", text.replace(",", "")))


def _share_that_holds(solution: str) -> float:
    """Share of the calculator annotations <<a=b>> whose two sides agree; NaN where there is none that can be checked."""
    held = []
    for left, right in re.findall(r"<<([-+*/(). \d]+)=([-.\d]+)>>", solution):
        try:
            held.append(abs(_value(ast.parse(left.strip(), mode="eval").body) - float(right)) < 1e-2)
        except (ValueError, SyntaxError, ZeroDivisionError):
            continue
    return float(np.mean(held)) if held else float("nan")


def _value(node: ast.expr) -> float:
    """Value of a formula of numbers, four operations and signs."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return float(_OPERATIONS[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return -_value(node.operand) if isinstance(node.op, ast.USub) else _value(node.operand)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    raise ValueError("not a formula")


def _solutions(paths: list[Path], part: str) -> VerifierScores:
    questions = pl.read_parquet(paths[0]).filter(pl.col("split") == "test")["question"]
    table = pl.read_parquet(paths[1]).sort("test_index", "method")
    rows = []
    for index, solution in table.select("test_index", "solution").iter_rows():
        asked, used = _numbers(questions[index]), _numbers(solution)
        lines, steps = solution.count("\n") + 1, solution.count("<<")
        overlap = len(asked & used) / max(len(asked), 1)
        rows.append((_share_that_holds(solution), overlap, len(solution), lines, steps))
    answers = [re.sub(r"[,$ ]", "", text.rsplit("A:", 1)[-1].strip()) for text in table["solution"]]
    names = ("calculator", "overlap", "length", "lines", "steps")
    offsets = np.arange(0, len(table) + 1, 4)
    return VerifierScores(np.array(rows), offsets, names, tuple(answers), table["is_correct"].to_numpy().astype(np.int64))


def _verdicts(paths: list[Path], part: str) -> VerifierScores:
    """A row per response of a pair; reward models score it, prompted judges say 1 (preferred), 0.5 (tie) or 0, in each order."""
    pairs = pl.read_parquet(paths[0]).filter(pl.col("response_model").str.starts_with("gpt-4o"))
    verdicts = pl.read_parquet(paths[1]).filter(pl.col("response_model").str.starts_with("gpt-4o"))
    row_of = {pair: row for row, pair in enumerate(pairs["pair_id"])}
    short = verdicts["judge_model"].str.split("/").list.last()
    verdicts = verdicts.with_columns((short + " " + verdicts["order"]).alias("verifier"))
    names = tuple(verdicts["verifier"].unique().sort())
    values = np.full((2 * len(pairs), len(names)), np.nan)
    for pair, verifier, prefers, a, b in verdicts.select("pair_id", "verifier", "prefers", "score_A", "score_B").iter_rows():
        both = (a, b) if a is not None else {"A": (1.0, 0.0), "B": (0.0, 1.0), "tie": (0.5, 0.5)}.get(prefers, (np.nan, np.nan))
        values[[2 * row_of[pair], 2 * row_of[pair] + 1], names.index(verifier)] = both
    first = pairs["label"].to_numpy()
    texts = [text for both in pairs.select("answer_A", "answer_B").iter_rows() for text in both]
    prompts = [question for question in pairs["question"] for _ in range(2)]
    labels = np.column_stack([first, 1 - first]).ravel()
    return VerifierScores(
        values, np.arange(0, len(labels) + 1, 2), names, labels=labels, prompts=tuple(prompts), responses=tuple(map(str, texts))
    )


def _legal(paths: list[Path], part: str) -> VerifierScores:
    """A query is a case of a task, its responses the options that some model gave; a model scores the probability it gives them."""
    cases, answers = pl.read_parquet(paths[0]), pl.read_parquet(paths[1]).filter(pl.col("answer") >= 0)
    if part:
        cases, answers = cases.filter(pl.col("task") == part), answers.filter(pl.col("task") == part)
        if not len(cases):
            raise DataError(f"llm_votes_legal has no task '{part}'")
    models = sorted(answers["model"].unique())
    options = answers.select("task", "case_id", option="answer").unique().sort("task", "case_id", "option")
    options = options.join(cases, on=["task", "case_id"], how="inner", maintain_order="left")
    columns = []
    for model in models:
        own = (
            answers.filter(pl.col("model") == model).unique(["task", "case_id"], keep="first").select("task", "case_id", "answer", "probs")
        )
        joined = options.join(own, on=["task", "case_id"], how="left", maintain_order="left")
        given = pl.when(pl.col("probs").is_null()).then((pl.col("answer") == pl.col("option")).cast(pl.Float64))
        told = given.otherwise(pl.col("probs").list.get(pl.col("option"), null_on_oob=True).cast(pl.Float64)).alias(model)
        columns.append(joined.select(told)[model].fill_null(np.nan).to_numpy())
    keys = options.select((pl.col("task") + "/" + pl.col("case_id").cast(pl.String)).alias("key"))["key"].to_numpy()
    offsets = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1], True])
    labels = (options["option"] == options["gold"]).to_numpy().astype(np.int64)
    return VerifierScores(np.column_stack(columns), offsets, tuple(models), labels=labels)


_READERS: dict[str, Callable[[list[Path], str], VerifierScores]] = {
    _GSM: _solutions,
    "judgebench_verdicts": _verdicts,
    "llm_votes_legal": _legal,
}
