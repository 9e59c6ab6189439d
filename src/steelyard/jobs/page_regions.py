"""Pages with their text found: marks of the sources made once, the label model fitted on them, and every rule to compare it with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.datasets.pages import Pages
from steelyard.errors import ConfigError
from steelyard.evaluation.detection import class_scores, detection_scores
from steelyard.result import Result
from steelyard.vision.boxes import BoxFilter, ScoredBoxes, to_coco
from steelyard.vision.overlay import overlay, save_picture
from steelyard.vision.text_marks import RegionSource, canny_words, contour_words, edge_words, run_words
from steelyard.vision.text_regions import PackedMarks, PageMarks, Table, TextRegions, named_tables

_NAMED = {"docbank_pages": "latin", "sroie_receipts": "lines"}
_LINES = BoxFilter(min_area=0, min_pixels=30, min_width=0, max_width=np.inf, min_height=0, max_height=1 / 4)


def settings_for(setting: str, data: str) -> dict[str, object]:
    """The sources and filters of a setting; ``auto`` goes by the data's name.

    Examples
    --------
    >>> [source.name for source in settings_for("auto", "sroie_receipts")["sources"]]
    ['contours (1, 15)', 'edges (3, 15)', 'canny (3, 15)', 'runs']
    """
    chosen = _NAMED.get(data, "multilingual") if setting == "auto" else setting
    words = [contour_words(3), edge_words(5), canny_words(5), run_words()]
    if chosen == "multilingual":
        return {"sources": words}
    if chosen == "latin":
        narrow = BoxFilter(min_area=0, min_width=0, min_height=0, max_height=np.inf)
        return {"sources": words, "source_filter": narrow}
    if chosen == "lines":
        lines = [contour_words((1, 15)), edge_words((3, 15)), canny_words((3, 15)), run_words(0.03)]
        return {"sources": lines, "source_filter": _LINES, "box_filter": _LINES}
    raise ConfigError(f"setting must be auto, latin, multilingual or lines, got '{setting}'")


class LabelledPages:
    """Pages, the marks on them, and the fitted `TextRegions`; marks are kept compressed, pages are decoded when needed.

    Parameters
    ----------
    pages : Pages
    setting : dict
        As `settings_for` gives.
    sources : sequence of RegionSource, optional
        Instead of the setting's.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from steelyard.datasets.pages import load_pages
    >>> page = np.full((200, 400), 255, np.uint8); page[50:62, 40:100] = 0
    >>> folder = pathlib.Path(tempfile.mkdtemp()); save_picture(folder / "a.png", page)
    >>> LabelledPages(load_pages(folder), settings_for("latin", "")).boxes_per_page()
    1.0
    """

    def __init__(self, pages: Pages, setting: dict[str, Any], sources: Sequence[RegionSource] | None = None) -> None:
        self.pages, self.setting = pages, setting
        self.regions = TextRegions(**{**setting, "sources": setting["sources"] if sources is None else sources})
        began = time.perf_counter()
        self._packed: list[PackedMarks] = [self.regions.marks(pages.image(i)).packed() for i in range(len(pages))]
        marked = time.perf_counter()
        self.regions.fit_marks(self.marks())
        self.marking_seconds, self.fit_seconds = marked - began, time.perf_counter() - marked
        self.n_pixels = self.regions.statistics_.n_rows

    def marks(self) -> Iterator[PageMarks]:
        """The marks page by page."""
        return (packed.unpacked() for packed in self._packed)

    def found(self, table: Table | None = None) -> list[ScoredBoxes]:
        """Boxes of every page, by the label model or another table."""
        return [self.regions.boxes(marks, table) for marks in self.marks()]

    def boxes_per_page(self) -> float:
        """Mean number of boxes of the label model."""
        return float(np.mean([len(found) for found in self.found()]))

    def arms(self) -> dict[str, list[ScoredBoxes]]:
        """The label model (``method``), each source, their union and majorities."""
        tables: dict[str, Table | None] = {"method": None, **named_tables(self.regions.sources)}
        return {arm: self.found(table) for arm, table in tables.items()}

    def by_class(self, iou: float) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 of the label model for each class of gold boxes."""
        if self.pages.classes is None or self.pages.boxes is None:
            return {}
        scores = class_scores(self.pages.boxes, self.pages.classes, [found.boxes for found in self.found()], iou=iou)
        return {kind: {"precision": s.precision, "recall": s.recall, "f1": s.f1, "gold": s.gold} for kind, s in scores.items()}

    def net_from(self, others: Pages, steps: int, seed: int) -> RegionSource:
        """A net taught by the weighed labels of other pages, as a source."""
        from steelyard.vision.text_net import TextNet

        taught = LabelledPages(others, self.setting, self.regions.sources)
        labels: list[NDArray[np.float32]] = [taught.regions.table(marks)[marks.codes] for marks in taught.marks()]
        return TextNet(steps=steps, seed=seed).fit([others.image(i) for i in range(len(others))], labels).source()

    def save(self, folder: Path) -> None:
        """Write the fitted model, ``boxes.json`` (COCO), and every page with its boxes and P(text) drawn in."""
        self.regions.save(folder)
        found = self.found()
        shapes = {name: packed.shape for (name, _), packed in zip(self.pages.pages, self._packed, strict=True)}
        to_coco(folder / "boxes.json", {name: (int(h), int(w)) for name, (h, w) in shapes.items()}, found)
        for i, (marks, boxes) in enumerate(zip(self.marks(), found, strict=True)):
            picture = overlay(self.pages.image(i), boxes.boxes, self.regions.table(marks)[marks.codes])
            save_picture(folder / "pages" / f"{Path(self.pages.pages[i][0]).name}.png", picture)


def add_box_scores(
    result: Result, arm: str, seed: int, gold: Sequence[ArrayLike], found: Sequence[ScoredBoxes], percents: Sequence[int]
) -> None:
    """Add precision, recall and F1 at every overlap in percent, as ``f1@50``.

    Examples
    --------
    >>> result, boxes = Result("boxes"), np.array([[0, 0, 9, 9]])
    >>> add_box_scores(result, "method", 0, [boxes], [ScoredBoxes(boxes, np.ones(1, np.float32))], [50])
    >>> result.mean("method", "f1@50")
    1.0
    """
    scores = detection_scores(gold, [each.boxes for each in found], [percent / 100 for percent in percents])
    for percent in percents:
        of = scores[percent / 100]
        for metric, value in (("f1", of.f1), ("precision", of.precision), ("recall", of.recall)):
            result.add(arm, seed, f"{metric}@{percent}", value)
