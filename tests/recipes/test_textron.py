"""The text detection recipe on a user's own folder of pages, and on published pages where they are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from steelyard.datasets.pages import load_pages
from steelyard.errors import ConfigError, DataError
from steelyard.recipes.textron import Textron, run
from steelyard.vision.boxes import ScoredBoxes, paint, to_coco
from steelyard.vision.overlay import save_picture
from steelyard.vision.text_marks import detector

WORDS = np.array([[x, y, 50, 14] for y in range(20, 280, 30) for x in range(20, 340, 70)])


def folder_of_pages(folder: Path, n: int, gold: bool) -> Path:
    for i in range(n):
        page = np.full((300, 400), 250, np.uint8)
        page[paint(WORDS[i:], page.shape)] = 10
        save_picture(folder / f"{i}.png", page)
    if gold:
        found = [ScoredBoxes(WORDS[i:], np.ones(len(WORDS) - i, np.float32)) for i in range(n)]
        to_coco(folder / "boxes.json", {f"{i}.png": (300, 400) for i in range(n)}, found)
    return folder


def test_own_pages_without_boxes_get_boxes_pictures_and_a_model(tmp_path: Path) -> None:
    folder = folder_of_pages(tmp_path / "scans", 2, gold=False)
    result = run(Textron(str(folder), save=str(tmp_path / "out")))
    assert result.mean("method", "boxes_per_page") == len(WORDS) - 0.5
    assert result.arms == ["method"]
    assert len(json.loads((tmp_path / "out" / "boxes.json").read_text())["annotations"]) == 2 * len(WORDS) - 1
    assert sorted(path.name for path in (tmp_path / "out" / "pages").iterdir()) == ["0.png.png", "1.png.png"]
    assert (tmp_path / "out" / "label_model.safetensors").exists()


def test_own_pages_with_boxes_are_measured_and_own_detectors_join(tmp_path: Path) -> None:
    folder = folder_of_pages(tmp_path / "scans", 3, gold=True)
    from steelyard.vision.text_marks import contour_words, run_words

    own = [detector("mine", lambda page: WORDS), contour_words(), run_words()]
    result = run(Textron(str(folder), setting="latin", pages=2, net_pages=1, net_steps=3, iou=(50,), seeds=(0,)), sources=own)
    assert {"method", "mine", "runs", "union", "at least 2", "weak", "net", "method + net"} <= set(result.arms)
    assert result.mean("method", "f1@50") > 0.9
    assert run(Textron(str(folder), setting="latin", pages=2, net_pages=0, iou=(50,), seeds=(0,)), sources=own).mean(
        "method", "f1@50"
    ) == result.mean("method", "f1@50")


def test_published_pages_and_receipts_are_read(data_root: Path) -> None:
    pages, receipts = load_pages("docbank_pages"), load_pages("sroie_receipts")
    assert (len(pages), len(receipts)) == (27, 100)
    assert pages.boxes is not None
    assert pages.classes is not None
    assert [len(b) for b in pages.boxes] == [len(c) for c in pages.classes]
    height, width = pages.image(0).shape
    assert (pages.boxes[0][:, :2] + pages.boxes[0][:, 2:] <= [width, height]).all()


def test_weighed_marks_beat_the_mean_source_on_a_real_page(data_root: Path) -> None:
    result = run(Textron("docbank_pages", pages=2, net_pages=0, iou=(50,), seeds=(0,)))
    assert result.mean("method", "f1@50") > result.mean("weak", "f1@50")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "nowhere"}, DataError, "no pages named 'nowhere'"),
        ({"setting": "rotated"}, ConfigError, "setting must be"),
        ({"iou": (150,)}, ConfigError, "iou is in percent"),
        ({"pages": 9}, ConfigError, "has 3 pages, not 9 to label"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, options: dict[str, object], error: type[Exception], message: str) -> None:
    folder = folder_of_pages(tmp_path / "scans", 3, gold=True)
    with pytest.raises(error, match=message):
        run(Textron(**{"data": str(folder), **options}))  # type: ignore[arg-type]


def test_broken_pictures_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        load_pages(tmp_path)
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="not a readable picture"):
        load_pages(tmp_path).image(0)
    (tmp_path / "boxes.json").write_text("{}")
    with pytest.raises(DataError, match="no COCO annotation file"):
        load_pages(tmp_path)
