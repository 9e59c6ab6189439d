"""Text regions: counted patterns equal pixels one by one, guides steer the fit only, failed sources are silent, boxes come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard.errors import ConfigError, DataError, LabelModelError, SourceError
from steelyard.evaluation.detection import greedy_matches
from steelyard.label_models import Cage, MajorityVote
from steelyard.vision.boxes import paint
from steelyard.vision.overlay import overlay
from steelyard.vision.text_marks import (
    RegionSource,
    canny,
    canny_words,
    contour_words,
    detector,
    edge_words,
    gray,
    ink,
    otsu,
    run_words,
    small_objects,
)
from steelyard.vision.text_net import TextNet
from steelyard.vision.text_regions import TextRegions, named_tables, vote_table
from steelyard.votes import Votes

SHAPE = (240, 400)
WORDS = np.array([[x, y, 50, 14] for y in range(20, 220, 30) for x in range(20, 340, 70)])


def page_of_words(seed: int = 0) -> NDArray[np.uint8]:
    page = np.full(SHAPE, 245, np.uint8)
    page[paint(WORDS, SHAPE)] = 20
    return page + np.random.default_rng(seed).integers(0, 8, SHAPE).astype(np.uint8)


def noisy(name: str, flips: float, seed: int, **guides: float) -> RegionSource:
    """A mask that is wrong on some pixels, the same on every call."""
    wrong = np.random.default_rng(seed).random(SHAPE) < flips
    return RegionSource(name, lambda page: paint(WORDS, SHAPE) ^ wrong, **guides)


def test_image_operations_find_the_words() -> None:
    page = page_of_words()
    for source in (contour_words(), edge_words(), canny_words(), run_words()):
        found = np.asarray(source.find(page))
        assert len(found) == len(WORDS), source.name
        assert len(greedy_matches(WORDS, found)[0]) == len(WORDS)
        assert (greedy_matches(WORDS, found)[1] > 0.6).all(), source.name


def test_light_ink_on_dark_is_inverted_and_a_plain_page_has_no_ink() -> None:
    page = page_of_words()
    assert (ink(page) == ink(255 - page)).mean() > 0.99
    assert not ink(np.full((9, 9), 7, np.uint8)).any()


def test_otsu_is_the_split_with_the_greatest_spread() -> None:
    levels = np.random.default_rng(0).integers(0, 256, 500).astype(np.uint8)

    def spread(t: int) -> float:
        low, high = levels[levels <= t], levels[levels > t]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0

    assert spread(otsu(levels)) == pytest.approx(max(spread(t) for t in range(256)))


def test_canny_edges_are_thin_and_closed() -> None:
    page = np.full((60, 60), 255, np.uint8)
    page[20:40, 20:40] = 0
    edges = canny(page)
    assert 60 < edges.sum() < 100
    assert canny_words(1).find(page)[0].tolist() == pytest.approx([19, 19, 22, 22], abs=1)


def test_fit_on_counted_patterns_equals_fit_on_every_pixel() -> None:
    sources = [noisy("a", 0.05, 1), noisy("b", 0.15, 2, text_guide=0.7), noisy("c", 0.25, 3)]
    finder = TextRegions(sources).fit([page_of_words()])
    masks = [np.asarray(source.find(page_of_words())).ravel() for source in sources]
    codes = np.column_stack([column for mask in masks for column in (np.where(mask, 1, -1), np.where(mask, -1, 0))])
    votes = Votes(codes, classes=("not text", "text"), sources=[name for source in sources for name in source.votes])
    slow = Cage(quality_guides=[g for source in sources for g in source.guides], class_prior=[0.5, 0.5]).fit(votes)
    assert finder.statistics_ == slow.statistics_
    assert finder.label_model_.triggers_ == pytest.approx(slow.triggers_)
    assert finder.predict_proba(page_of_words()).ravel() == pytest.approx(slow.predict_proba(votes)[:, 1])


def test_pages_add_up() -> None:
    sources = [noisy("a", 0.05, 1), noisy("b", 0.1, 2)]
    once, twice = TextRegions(sources).fit([page_of_words()]), TextRegions(sources).fit([page_of_words()] * 2)
    assert twice.statistics_.n_rows == 2 * once.statistics_.n_rows
    assert len(twice.statistics_.counts) == len(once.statistics_.counts) <= 4, "memory goes with the patterns"


def test_combined_marks_are_better_than_each() -> None:
    sources = [noisy(str(i), 0.12 + 0.04 * i, i) for i in range(4)]
    finder = TextRegions(sources).fit([page_of_words()])
    truth = paint(WORDS, SHAPE)
    wrong = [float((np.asarray(s.find(page_of_words())) != truth).mean()) for s in sources]
    error = ((finder.predict_proba(page_of_words()) > 0.5) != truth).mean()
    assert error < 0.7 * min(wrong)


def test_guides_change_the_fit_and_not_how_a_fitted_model_predicts() -> None:
    trusted = TextRegions([noisy("a", 0.2, 1, text_guide=0.95), noisy("b", 0.2, 2, text_guide=0.3)]).fit([page_of_words()])
    doubted = TextRegions([noisy("a", 0.2, 1, text_guide=0.3), noisy("b", 0.2, 2, text_guide=0.95)]).fit([page_of_words()])
    marks = trusted.marks(page_of_words())
    assert trusted.table(marks)[1] > trusted.table(marks)[2]
    assert doubted.table(marks)[1] < doubted.table(marks)[2]
    before = trusted.table(marks).copy()
    trusted.label_model_.quality_guides, trusted._tables = 0.5, {}
    assert (trusted.table(marks) == before).all()


def test_a_source_that_fails_or_finds_nothing_is_silent_on_that_page() -> None:
    good = [noisy("a", 0.05, 1), noisy("b", 0.05, 2)]

    def broken(page: NDArray[np.uint8]) -> NDArray[np.int64]:
        raise RuntimeError("out of memory")

    for third in (lambda page: None, lambda page: np.zeros((0, 4)), broken):
        finder = TextRegions([*good, RegionSource("third", third)]).fit([page_of_words()])
        both = TextRegions(good).fit([page_of_words()])
        assert finder.predict_proba(page_of_words()) == pytest.approx(both.predict_proba(page_of_words()), abs=1e-4)
    assert finder.faults_["third"] == {"pages": 2, "first": "RuntimeError: out of memory"}
    with pytest.raises(SourceError, match="source 'third' raised RuntimeError"):
        TextRegions([RegionSource("third", broken)], strict=True).marks(page_of_words())


def test_one_sided_sources_vote_on_their_side_only() -> None:
    finder = TextRegions([noisy("a", 0.05, 1), noisy("b", 0.05, 2), small_objects(30)]).fit([page_of_words()])
    assert finder.statistics_.sources[-1] == "objects of 30 pixels: not text"
    assert len(finder.statistics_.sources) == 5
    assert finder.statistics_.n_rows == page_of_words().size


def test_boxes_masks_and_any_label_model() -> None:
    exact = detector("exact", lambda page: WORDS)
    for model in (None, MajorityVote()):
        finder = TextRegions([exact, noisy("a", 0.02, 1), run_words()], label_model=model).fit([page_of_words()])
        found = finder.predict(page_of_words())
        scores = finder.evaluate([page_of_words()], [WORDS])
        assert scores[0.5].recall == 1
        assert ((found.scores > 0.5) & (found.scores <= 1)).all()


def test_words_come_back_as_they_were_marked() -> None:
    found = TextRegions([detector(str(i), lambda page: WORDS) for i in range(3)]).fit([page_of_words()]).predict(page_of_words())
    assert found.boxes.tolist() == WORDS.tolist()


def test_blank_page_has_no_boxes_and_nothing_to_fit() -> None:
    blank = np.full(SHAPE, 255, np.uint8)
    finder = TextRegions([contour_words(), edge_words()]).fit([page_of_words()])
    assert len(finder.predict(blank)) == 0
    with pytest.raises(LabelModelError, match="no source found any text"):
        TextRegions([contour_words(), edge_words()]).fit([blank])


def test_saved_regions_predict_without_a_fit(tmp_path: Path) -> None:
    sources = [contour_words(), edge_words(), run_words()]
    finder = TextRegions(sources).fit([page_of_words()])
    finder.save(tmp_path)
    other = page_of_words(seed=5)
    loaded = TextRegions.load(tmp_path, sources)
    assert loaded.predict(other).boxes.tolist() == finder.predict(other).boxes.tolist()
    assert (loaded.predict_proba(other) == finder.predict_proba(other)).all()
    with pytest.raises(DataError, match="give these, in this order"):
        TextRegions.load(tmp_path, sources[::-1])


def test_rules_are_tables_over_patterns() -> None:
    tables = named_tables([noisy(name, 0, 0) for name in "abc"])
    assert list(tables) == ["a", "b", "c", "union", "at least 2"]
    assert tables["b"].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert tables["at least 2"].tolist() == [0, 0, 0, 1, 0, 1, 1, 1]
    assert vote_table(3, lambda marks: marks.all(axis=1)).sum() == 1


def test_packed_marks_are_the_marks() -> None:
    marks = TextRegions([contour_words(), edge_words()]).marks(page_of_words())
    back = marks.packed().unpacked()
    assert (back.codes == marks.codes).all()
    assert len(marks.packed().content) < marks.codes.size / 20


def test_overlay_draws_frames_inside_the_page() -> None:
    picture = overlay(page_of_words(), [[-5, -5, 20, 20], [380, 230, 50, 50]], np.zeros(SHAPE, np.float32))
    assert picture.shape == (*SHAPE, 3)
    assert picture[14, 3].tolist() == [181, 64, 44]


def test_a_net_taught_by_the_labels_marks_other_pages() -> None:
    finder = TextRegions([contour_words(), edge_words(), run_words()]).fit([page_of_words()])
    page = page_of_words()
    nets = [TextNet(steps=40, batch_size=2, learning_rate=0.02, seed=1).fit([page], [finder.predict_proba(page)]) for _ in range(2)]
    other = page_of_words(seed=9)
    found, truth = np.asarray(nets[0].source().find(other)), finder.predict_proba(other) > 0.5
    assert (found & truth).sum() / (found | truth).sum() > 0.6
    assert (nets[0].predict_proba(other) == nets[1].predict_proba(other)).all(), "same seed, same net"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TextRegions([]), ConfigError, "1 to 16 sources"),
        (lambda: TextRegions([run_words(), run_words()]), ConfigError, "names of their own"),
        (lambda: RegionSource("a", lambda page: None, text_guide=1.0), SourceError, "between 0 and 1"),
        (lambda: RegionSource("a", lambda page: None, None, None), SourceError, "give at least one"),
        (lambda: TextRegions([run_words()]).predict(page_of_words()), LabelModelError, "not fitted yet"),
        (lambda: TextRegions([RegionSource("a", lambda page: np.ones(3))]).marks(page_of_words()), SourceError, "return boxes"),
        (lambda: TextRegions([RegionSource("a", lambda page: page[1:] > 0)]).marks(page_of_words()), SourceError, "bool mask as large"),
        (lambda: gray(np.ones((3, 3))), DataError, "uint8"),
        (lambda: gray(np.ones((3, 3, 4), np.uint8)), DataError, "3 channels"),
    ],
)
def test_bad_input_is_named(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()  # type: ignore[operator]
