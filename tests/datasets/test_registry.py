"""Names, aliases and subsets; every set that is present loads, and its votes are as accurate as published."""

from pathlib import Path

import pytest

from steelyard import datasets
from steelyard.datasets.registry import CARDS
from steelyard.errors import DataError

EVERY_SET = [f"{card.name}/{subset}" if subset else card.name for card in CARDS for subset in card.subsets or ("",)]


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no data set named 'youtub'.*ws_youtube_spam"):
        datasets.load("youtub")


def test_a_set_of_several_tasks_wants_one_of_them() -> None:
    with pytest.raises(DataError, match="choose one, as in 'ethics/commonsense_short'"):
        datasets.load("ethics")
    with pytest.raises(DataError, match="has no parts"):
        datasets.load("agnews/world")


def test_absent_files_say_where_they_were_sought(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STEELYARD_DATA", raising=False)
    with pytest.raises(DataError, match="no public download in this form; set the environment variable STEELYARD_DATA"):
        datasets.load("youtube")
    monkeypatch.setenv("STEELYARD_DATA", str(tmp_path))
    with pytest.raises(DataError, match=str(tmp_path)):
        datasets.load("youtube")


def test_aliases_are_unique_and_resolve() -> None:
    names = [name for card in CARDS for name in (card.name, *card.aliases)]
    assert len(names) == len(set(names))
    assert datasets.card("imdb").name == "reviews_weak_majority"


def test_cards_tell_licence_citation_and_checksums() -> None:
    for card in CARDS:
        assert card.licence
        assert card.citation
        assert all(len(file.sha256) == 64 for file in card.files)


@pytest.mark.parametrize("name", EVERY_SET)
def test_every_set_loads(name: str, data_root: Path) -> None:
    data = datasets.load(name)
    assert data.name == name
    for split, table in data.splits.items():
        assert len(table) > 0
        assert data.labels(split).max() < len(data.classes)
    assert set(data.votes) <= set(data.splits)


@pytest.mark.parametrize(
    ("name", "split", "coverage", "conflict"),
    [
        ("youtube", "test", 0.928, 0.256),
        ("sms", "train", 0.405, 0.003),
        ("trec", "train", 0.952, 0.220),
        ("chemprot", "test", 0.864, 0.408),
        ("spouse", "test", 0.278, 0.036),
        ("hausa", "test", 0.997, 0.156),
        ("census", "train", 0.942, 0.280),
    ],
)
def test_published_votes_have_the_published_coverage_and_conflict(
    name: str, split: str, coverage: float, conflict: float, data_root: Path
) -> None:
    codes = datasets.load(name).votes[split].codes.astype(int)
    voted = codes >= 0
    lowest = codes.copy()
    lowest[~voted] = 10**6
    assert voted.any(axis=1).mean() == pytest.approx(coverage, abs=6e-4)
    assert (voted.any(axis=1) & (lowest.min(axis=1) != codes.max(axis=1))).mean() == pytest.approx(conflict, abs=6e-4)


def test_bluebirds_votes_are_complete_and_aligned_with_gold(data_root: Path) -> None:
    data = datasets.load("bluebirds")
    codes, gold = data.votes["all"].codes, data.labels("all")
    assert codes.shape == (108, 39)
    assert (codes >= 0).all()
    accuracy_of_workers = (codes == gold[:, None]).mean(axis=0)
    assert accuracy_of_workers.max() > 0.8  # chance if the rows were misaligned


def test_model_answers_match_the_published_accuracies(data_root: Path) -> None:
    data = datasets.load("llm_votes_legal/sc_issuearea")
    votes, gold = data.votes["all"], data.labels("all")
    answers = votes.column("lawma-70b")
    assert (answers == gold).mean() == pytest.approx(0.85, abs=2e-3)
    assert votes.confidences is not None
    assert votes.confidences.max() <= 1


def test_span_votes_become_token_votes_by_document(data_root: Path) -> None:
    data = datasets.load("ncbi_disease")
    votes, gold = data.votes["train"], data.labels("train")
    assert data.is_sequence
    assert votes.groups is not None
    assert len(votes.groups) - 1 == len(data["train"]) == 592
    begins = data.classes.index("B-Disease")
    assert (gold == begins).sum() == 5105  # the published number of gold spans
