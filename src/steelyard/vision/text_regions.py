"""Text regions: sources mark pixels of page images, a label model weighs the marks, its map becomes word boxes. No box is annotated.

Kudale et al. 2024, "TEXTRON: Weakly Supervised Multilingual Text Detection through Data Programming".
Pixels are only ever counted by pattern of marks, so that 91 million of them are fitted and labelled through a table of 2^S rows.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import ConfigError, DataError, LabelModelError, SourceError
from steelyard.evaluation.detection import DetectionScores, detection_scores
from steelyard.label_models import Cage, LabelModel
from steelyard.storage import read_json, write_json
from steelyard.vision.boxes import BoxFilter, Mask, ScoredBoxes, Shrink, component_boxes, paint
from steelyard.vision.text_marks import Page, RegionSource, gray
from steelyard.vote_statistics import VoteStatistics
from steelyard.votes import Votes

CLASSES = ("not text", "text")
_MOST = 16
Table = NDArray[np.float32]


@dataclass(frozen=True)
class PageMarks:
    """What S sources marked on a page: bit j of `codes` (H, W) is set where source j marks; `spoke` (S,) is false where it failed."""

    codes: NDArray[np.unsignedinteger]
    spoke: Mask

    def packed(self) -> PackedMarks:
        """The same in a hundredth of the memory."""
        return PackedMarks(zlib.compress(self.codes.tobytes(), 1), self.codes.dtype.str, self.codes.shape, self.spoke)

    @property
    def key(self) -> int:
        """The sources that spoke, as bits."""
        return int(self.spoke @ (1 << np.arange(len(self.spoke))))


@dataclass(frozen=True)
class PackedMarks:
    """`PageMarks`, compressed."""

    content: bytes
    dtype: str
    shape: tuple[int, ...]
    spoke: Mask

    def unpacked(self) -> PageMarks:
        """The marks again."""
        return PageMarks(np.frombuffer(zlib.decompress(self.content), self.dtype).reshape(self.shape), self.spoke)


class TextRegions:
    """Word boxes from several unreliable finders of text.

    The boxes of every source are filtered, shrunk and painted. Each mask is two sources of votes: TEXT where it is true, NOT TEXT where
    it is false, each with a quality guide of its own; the guides enter the label model's loss, not its prediction. A source that fails on
    a page or finds nothing there says nothing about that page. The map P(text) > 1/2 is cut into connected regions, which are grown by
    what the boxes were shrunk by; the score of a box is the mean P(text) inside.

    Parameters
    ----------
    sources : sequence of RegionSource
        At most 16.
    label_model : LabelModel, optional
        `Cage` with the guides of the sources and both classes equally likely when left out.
    shrink : Shrink
    source_filter, box_filter : BoxFilter
        What of the sources' boxes is painted, and what of the result is kept.
    strict : bool
        Raise when a source raises on a page; otherwise it is silent there and `faults_` says so.

    Attributes
    ----------
    label_model_ : LabelModel
        Fitted; its parameters label any page without another fit.
    statistics_ : VoteStatistics
        Patterns of votes and how many pixels have them.
    faults_ : dict
        Per source the number of pages on which it raised, and the first message.

    Examples
    --------
    >>> from steelyard.vision.text_marks import contour_words, edge_words, run_words
    >>> page = np.full((200, 400), 255, np.uint8); page[50:62, 40:100] = 0; page[50:62, 140:200] = 0
    >>> finder = TextRegions([contour_words(), edge_words(), run_words()]).fit([page])
    >>> finder.predict(page).boxes.tolist()
    [[37, 47, 66, 19], [137, 47, 66, 19]]
    """

    def __init__(
        self,
        sources: Sequence[RegionSource],
        label_model: LabelModel | None = None,
        shrink: Shrink | None = None,
        source_filter: BoxFilter | None = None,
        box_filter: BoxFilter | None = None,
        strict: bool = False,
    ) -> None:
        names = [source.name for source in sources]
        if not sources or len(sources) > _MOST or len(set(names)) < len(names):
            raise ConfigError(f"text regions need 1 to {_MOST} sources with names of their own, got {len(names)}: {', '.join(names)}")
        self.sources = tuple(sources)
        self.label_model = label_model
        self.shrink = shrink or Shrink()
        self.source_filter = source_filter or BoxFilter()
        self.box_filter = box_filter or BoxFilter(min_pixels=30, min_width=0, min_height=0)
        self.strict = strict
        self.faults_: dict[str, dict[str, int | str]] = {}

    # Marks

    def marks(self, page: Page) -> PageMarks:
        """Let every source mark a page."""
        shape = gray(page).shape
        codes = np.zeros(shape, dtype=np.uint8 if len(self.sources) <= 8 else np.uint16)
        spoke = np.zeros(len(self.sources), dtype=bool)
        for j, source in enumerate(self.sources):
            mask = self._mask(source, page, shape)
            if mask is not None and mask.any():
                codes |= mask.astype(codes.dtype) << j
                spoke[j] = True
        return PageMarks(codes, spoke)

    def _mask(self, source: RegionSource, page: Page, shape: tuple[int, ...]) -> Mask | None:
        try:
            found = source.find(page)
        except Exception as error:
            if self.strict:
                raise SourceError(f"source '{source.name}' raised {type(error).__name__} on a page of {shape}: {error}") from error
            fault = self.faults_.setdefault(source.name, {"pages": 0, "first": f"{type(error).__name__}: {error}"})
            fault["pages"] = int(fault["pages"]) + 1
            return None
        if found is None:
            return None
        array = np.asarray(found)
        if array.dtype == bool and array.shape == shape:
            return array
        if array.dtype == bool or (array.size and (array.ndim != 2 or array.shape[1] != 4)):
            raise SourceError(
                f"source '{source.name}' returned {array.dtype} of shape {array.shape} for a page of {shape}; "
                "return boxes (n, 4) as x, y, width, height, or a bool mask as large as the page"
            )
        boxes = np.rint(array.reshape(-1, 4)).astype(np.int64)
        height, width = shape
        return paint(self.shrink.apply(boxes[self.source_filter.keep(boxes, (height, width))]), (height, width))

    # Fitting

    def fit(self, pages: Iterable[Page]) -> Self:
        """Learn how far each source's marks go from unlabelled pages, read one at a time."""
        return self.fit_marks(self.marks(page) for page in pages)

    def fit_marks(self, pages: Iterable[PageMarks]) -> Self:
        """Learn from marks already made; what is kept of a page is the number of pixels of each pattern.

        Raises
        ------
        LabelModelError
            There are no pages, or no source finds anything on any of them.
        """
        counts: dict[int, NDArray[np.int64]] = {}
        for marks in pages:
            seen = np.bincount(marks.codes.ravel(), minlength=1 << len(self.sources))
            counts[marks.key] = counts.get(marks.key, 0) + seen
        if not any(counts):
            raise LabelModelError("no source found any text on any page, so there is nothing to weigh; check the pages and the box filter")
        self.statistics_ = VoteStatistics.merge(self._statistics(key, seen) for key, seen in counts.items() if key)
        guides = [guide for source in self.sources for guide in source.guides]
        model = Cage(quality_guides=guides, class_prior=[0.5, 0.5]) if self.label_model is None else self.label_model
        self.label_model_ = model.fit(self.statistics_)
        self._tables: dict[int, Table] = {}
        return self

    def _statistics(self, key: int, counts: NDArray[np.int64]) -> VoteStatistics:
        patterns = np.flatnonzero(counts)
        single = VoteStatistics.from_votes(self._votes(patterns, key))
        # Two patterns of marks can be one pattern of votes where a source votes on one side only.
        codes, rows = self._votes(patterns, key).codes, single.patterns
        place = {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(rows))}
        where = np.array([place[row.tobytes()] for row in np.ascontiguousarray(codes)])
        return replace(
            single,
            n_rows=int(counts.sum()),
            counts=np.bincount(where, weights=counts[patterns], minlength=len(rows)).astype(np.int64),
        )

    def _votes(self, patterns: NDArray[np.int64], key: int) -> Votes:
        """Votes (u, columns) of patterns of marks, when the sources in `key` spoke."""
        columns = []
        for j, source in enumerate(self.sources):
            marked, spoke = patterns >> j & 1 == 1, bool(key >> j & 1)
            if source.text_guide is not None:
                columns.append(np.where(marked & spoke, 1, -1))
            if source.not_text_guide is not None:
                columns.append(np.where(~marked & spoke, 0, -1))
        names = [name for source in self.sources for name in source.votes]
        return Votes(np.column_stack(columns).astype(np.int8), classes=CLASSES, sources=names)

    # Prediction

    def predict(self, page: Page) -> ScoredBoxes:
        """Word boxes of a page, from top to bottom."""
        return self.boxes(self.marks(page))

    def predict_proba(self, page: Page) -> Table:
        """(H, W) float32 P(text)."""
        marks = self.marks(page)
        return self.table(marks)[marks.codes]

    def table(self, marks: PageMarks) -> Table:
        """(2^S,) P(text) of every pattern of marks."""
        if not hasattr(self, "label_model_"):
            raise LabelModelError("these TextRegions are not fitted yet; call `fit` with pages first")
        key = marks.key
        if key not in self._tables:
            self._tables[key] = self.label_model_.predict_proba(self._votes(np.arange(1 << len(self.sources)), key))[:, 1]
        return self._tables[key]

    def boxes(self, marks: PageMarks, table: Table | None = None) -> ScoredBoxes:
        """Word boxes from marks, by the label model or by any other (2^S,) table of P(text), such as `vote_table` gives."""
        chosen = self.table(marks) if table is None else table
        shape = (marks.codes.shape[0], marks.codes.shape[1])
        cores = component_boxes((chosen > 0.5)[marks.codes])
        boxes = self.shrink.undo(cores, shape)
        kept = self.box_filter.keep(boxes, shape)
        scores = [chosen[marks.codes[y : y + h, x : x + w]].mean() for x, y, w, h in cores[kept]]
        return ScoredBoxes(boxes[kept], np.array(scores, dtype=np.float32))

    def evaluate(
        self, pages: Sequence[Page], gold: Sequence[ArrayLike], iou: Sequence[float] = (0.5, 0.7, 0.9)
    ) -> dict[float, DetectionScores]:
        """Precision, recall and F1 of the boxes on pages with gold boxes (n, 4)."""
        return detection_scores(gold, [self.predict(page).boxes for page in pages], iou)

    # To and from disk

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted label model and the settings into a folder; sources are code and are given again when loading."""
        if not hasattr(self, "label_model_"):
            raise LabelModelError("these TextRegions are not fitted yet; call `fit` with pages before `save`")
        self.label_model_.save(Path(folder) / "label_model.safetensors")
        settings = {"sources": [source.name for source in self.sources], "shrink": asdict(self.shrink)}
        filters = {"source_filter": asdict(self.source_filter), "box_filter": asdict(self.box_filter)}
        write_json(Path(folder) / "text_regions.json", {**settings, **filters})

    @staticmethod
    def load(folder: str | os.PathLike[str], sources: Sequence[RegionSource]) -> TextRegions:
        """Read what `save` wrote, ready to predict.

        Raises
        ------
        DataError
            A file is missing or torn, or the sources are not those it was fitted with.
        """
        settings = read_json(Path(folder) / "text_regions.json")
        if [source.name for source in sources] != settings["sources"]:
            raise DataError(f"folder '{folder}' was fitted with the sources {', '.join(settings['sources'])}; give these, in this order")
        model = LabelModel.load(Path(folder) / "label_model.safetensors")
        source_filter, box_filter = (BoxFilter(**settings[name]) for name in ("source_filter", "box_filter"))
        loaded = TextRegions(sources, model, Shrink(**settings["shrink"]), source_filter, box_filter)
        loaded.label_model_, loaded._tables = model, {}
        return loaded


def vote_table(n_sources: int, rule: Callable[[NDArray[np.int64]], Any]) -> Table:
    """(2^S,) table of 0 and 1 by a rule over the marks (2^S, S): union, majority, one source alone.

    Examples
    --------
    >>> vote_table(2, lambda marks: marks.sum(axis=1) >= 2).tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    marks = np.arange(1 << n_sources)[:, None] >> np.arange(n_sources) & 1
    return np.asarray(rule(marks), dtype=np.float32)


def named_tables(sources: Sequence[RegionSource]) -> Mapping[str, Table]:
    """The rules to compare a label model with: every source alone, their union, and every majority of at least two.

    Examples
    --------
    >>> from steelyard.vision.text_marks import contour_words, run_words
    >>> list(named_tables([contour_words(), run_words()]))
    ['contours 3', 'runs', 'union', 'at least 2']
    """
    n = len(sources)
    single = {source.name: vote_table(n, lambda marks, j=j: marks[:, j] == 1) for j, source in enumerate(sources)}  # type: ignore[misc]
    most = {f"at least {least}": vote_table(n, lambda marks, least=least: marks.sum(axis=1) >= least) for least in range(2, n)}  # type: ignore[misc]
    most |= {"at least 2": vote_table(n, lambda marks: marks.sum(axis=1) >= 2)} if n == 2 else {}
    return {**single, "union": vote_table(n, lambda marks: marks.any(axis=1)), **most}
