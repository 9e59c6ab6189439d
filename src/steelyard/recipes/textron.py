"""Find the words on page images without a single annotated box: image operations mark text, CAGE weighs the marks, pixels become boxes.

Kudale, Kasuba, Subramanian, Chaudhuri, Ramakrishnan 2024, "TEXTRON: Weakly Supervised Multilingual Text Detection through Data
Programming". Every source casts two kinds of votes with quality guides of their own: for text inside its shrunken boxes, against it
outside. Pixels are counted by pattern of votes, fitted once, and labelled by a table. A small net learns from the weighed labels of other
pages and joins as one more source. The combination is not always the best: on DocBank pages edges alone reach an F1 of .814 at overlap .5,
CAGE .807 without knowing which source is best (majority of 3: .697, mean source: .658), and with the net .813. On lines of receipts
(`sroie_receipts`): CAGE .696, with the net .697, best source .688, majority of 3 .656, mean source .583.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steelyard.datasets.pages import Pages, load_pages
from steelyard.errors import ConfigError
from steelyard.jobs.page_regions import LabelledPages, add_box_scores, settings_for
from steelyard.result import Result
from steelyard.vision.text_marks import RegionSource


@dataclass(frozen=True)
class Textron:
    """Options of the recipe.

    Parameters
    ----------
    data : str
        ``docbank_pages``, ``sroie_receipts``, or a folder of pictures; gold boxes are read from its ``boxes.json`` (COCO) if it has one.
    setting : str
        ``latin`` (words, boxes limited in width only), ``multilingual`` (words, all limits), ``lines`` (whole lines, as on receipts), or
        ``auto``: latin for docbank_pages, lines for sroie_receipts, multilingual for a folder.
    pages : int
        Pages that are labelled, per seed; all of a folder without gold boxes.
    net_pages : int
        Other pages whose weighed labels teach the net; 0 leaves the net out.
    net_steps : int
        Updates of the net.
    iou : tuple of int
        Overlaps that count as found, in percent.
    save : str
        Folder for the fitted model, the boxes as COCO file, and every labelled page with its boxes drawn in; none when left out.
    seeds : tuple of int
        Each draws its own pages and trains its own net.
    """

    data: str = "docbank_pages"
    setting: str = "auto"
    pages: int = 17
    net_pages: int = 10
    net_steps: int = 200
    iou: tuple[int, ...] = (50, 60, 70, 80, 90)
    save: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)


def run(config: Textron, sources: Sequence[RegionSource] | None = None) -> Result:
    """Label pages, train the net, and compare where there are gold boxes.

    Parameters
    ----------
    config : Textron
    sources : sequence of RegionSource, optional
        Sources to use instead of the setting's four; see `steelyard.vision.text_marks.detector` for a model of one's own.

    Returns
    -------
    Result
        Arms ``method`` (CAGE), every source by name, ``weak`` (their mean), ``union``, ``at least 2`` …, and with a net
        ``net`` and ``method + net``; metrics precision, recall and F1 at every overlap. Without gold boxes only the number of boxes.

    Raises
    ------
    ConfigError, DataError, SourceError
        The data are unknown or too few, the setting is none of those above, a source returns neither boxes nor a mask.

    Examples
    --------
    >>> run(Textron(setting="rotated"))
    Traceback (most recent call last):
    steelyard.errors.ConfigError: setting must be auto, latin, multilingual or lines, got 'rotated'
    """
    setting = settings_for(config.setting, config.data)
    if not config.seeds or not config.iou or not all(0 < percent <= 100 for percent in config.iou):
        raise ConfigError("seeds and iou need at least one value each, and iou is in percent, for example 50,70,90")
    data = load_pages(config.data)
    result = Result("textron", dataclasses.asdict(config))
    for seed in config.seeds if data.boxes is not None else config.seeds[:1]:
        rows = np.random.default_rng(seed).permutation(len(data))
        n = config.pages if data.boxes is not None else len(data)
        if n + config.net_pages > len(data) and data.boxes is not None:
            raise ConfigError(
                f"'{config.data}' has {len(data)} pages, not {n} to label and {config.net_pages} for the net; lower pages or net_pages"
            )
        _one_seed(config, data.take(np.sort(rows[:n])), data.take(rows[n : n + config.net_pages]), setting, sources, seed, result)
    _summarize(config, data, result)
    return result


def _one_seed(
    config: Textron,
    data: Pages,
    others: Pages,
    setting: dict[str, object],
    sources: Sequence[RegionSource] | None,
    seed: int,
    result: Result,
) -> None:
    began = time.perf_counter()
    labelled = LabelledPages(data, setting, sources)
    result.timings |= {f"marks {seed}": labelled.marking_seconds, f"fit {seed}": labelled.fit_seconds, f"pixels {seed}": labelled.n_pixels}
    if config.save is not None and seed == config.seeds[0]:
        labelled.save(Path(config.save))
    result.add("method", seed, "boxes_per_page", labelled.boxes_per_page())
    if data.boxes is None:
        return
    for arm, found in labelled.arms().items():
        add_box_scores(result, arm, seed, data.boxes, found, config.iou)
    if seed == config.seeds[0]:
        result.artifacts["by_class"] = labelled.by_class(iou=0.7)
    if config.net_pages and len(others):
        net = labelled.net_from(others, config.net_steps, seed)
        more = LabelledPages(data, setting, [*labelled.regions.sources, net])
        add_box_scores(result, "net", seed, data.boxes, more.arms()["net"], config.iou)
        add_box_scores(result, "method + net", seed, data.boxes, more.found(), config.iou)
    result.timings[f"all {seed}"] = time.perf_counter() - began


def _summarize(config: Textron, data: Pages, result: Result) -> None:
    split = "no labels" if data.boxes is None else f"{config.pages} pages by seed"
    about = {"name": data.name, "licence": data.licence, "citation": data.citation, "checksum": data.checksum}
    result.artifacts["data"] = {**about, "train": "unlabelled pages", "test": split}
    if data.boxes is None:
        return
    singles = [arm for arm in result.arms if arm not in ("method", "union", "net", "method + net") and "at least" not in arm]
    for seed in config.seeds:
        for metric in [metric for metric in result.metrics if metric != "boxes_per_page"]:
            result.add("weak", seed, metric, float(np.mean([result.values(arm, metric)[seed] for arm in singles])))
