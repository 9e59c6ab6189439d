"""Page images with or without word boxes: named sets, or a folder of a user's own pictures.

Li et al. 2020, "DocBank: A Benchmark Dataset for Document Layout Analysis"; Huang et al. 2019, "ICDAR2019 Competition on Scanned Receipt
OCR and Information Extraction". Needs Pillow to decode pictures.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steelyard.datasets.resolve import DataFile, locate, sha256_of
from steelyard.errors import DataError
from steelyard.storage import config_hash, read_json

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


@dataclass(frozen=True)
class Pages:
    """n page images, decoded one at a time.

    Parameters
    ----------
    name : str
    pages : tuple of (str, bytes or Path), length n
        Name and encoded picture of each page.
    boxes : tuple of (k, 4) int64 arrays, length n, or None
        Gold boxes x, y, width, height in pixels, where there are any.
    classes : tuple of tuples of str, length n, or None
        What each gold box is part of.
    licence, citation, checksum : str
    """

    name: str
    pages: tuple[tuple[str, bytes | Path], ...]
    boxes: tuple[NDArray[np.int64], ...] | None = None
    classes: tuple[tuple[str, ...], ...] | None = None
    licence: str = "unknown"
    citation: str = ""
    checksum: str = ""

    def __len__(self) -> int:
        return len(self.pages)

    def image(self, i: int) -> NDArray[np.uint8]:
        """(H, W) luminosity of page i."""
        name, content = self.pages[i]
        return read_page(content, name)

    def take(self, rows: Any) -> Pages:
        """Some of the pages, by position."""
        chosen = np.arange(len(self))[rows].tolist()
        parts = {key: None if column is None else tuple(column[i] for i in chosen) for key, column in self._columns().items()}
        return replace(self, **parts)  # type: ignore[arg-type]

    def _columns(self) -> dict[str, tuple[Any, ...] | None]:
        return {"pages": self.pages, "boxes": self.boxes, "classes": self.classes}


def load_pages(name: str | os.PathLike[str]) -> Pages:
    """Load ``docbank_pages``, ``sroie_receipts``, or a folder of pictures, with gold boxes if it holds a COCO file ``boxes.json``.

    Raises
    ------
    DataError
        The name is unknown, the folder holds no picture, or Pillow is missing.

    Examples
    --------
    >>> load_pages("no-such-folder")
    Traceback (most recent call last):
    steelyard.errors.DataError: no pages named 'no-such-folder'; known are docbank_pages, sroie_receipts, or give a folder of pictures
    """
    if str(name) in _READERS:
        files, read, licence, citation = _READERS[str(name)]
        found = read([locate(file) for file in files])
        return replace(found, licence=licence, citation=citation, checksum=config_hash([file.sha256 for file in files]))
    if not Path(name).is_dir():
        raise DataError(f"no pages named '{name}'; known are {', '.join(_READERS)}, or give a folder of pictures")
    return _from_folder(Path(name))


def read_page(content: bytes | str | os.PathLike[str], name: str = "") -> NDArray[np.uint8]:
    """Decode a picture file, or its bytes, to (H, W) uint8 luminosity.

    Raises
    ------
    DataError
        It is no picture, or Pillow is missing.
    """
    with _opened(content, name) as picture:
        return np.asarray(picture.convert("L"))


def page_shape(content: bytes | str | os.PathLike[str], name: str = "") -> tuple[int, int]:
    """(H, W) of a picture file, or its bytes, without decoding it."""
    with _opened(content, name) as picture:
        width, height = picture.size
        return height, width


@contextmanager
def _opened(content: bytes | str | os.PathLike[str], name: str) -> Iterator[Any]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise DataError('pictures need Pillow; install it with pip install "steelyard[vision]"') from None
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
            yield picture
    except (UnidentifiedImageError, OSError) as error:
        shown = name or (content if not isinstance(content, bytes) else "given as bytes")
        raise DataError(f"page '{shown}' is not a readable picture ({error}); remove it or save it again") from None


def _from_folder(folder: Path) -> Pages:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not files:
        raise DataError(f"folder '{folder}' holds no picture; pages end in {', '.join(PICTURES)}")
    boxes = None
    if (folder / "boxes.json").is_file():
        coco = read_json(folder / "boxes.json")
        try:
            ids = {image["id"]: image["file_name"] for image in coco["images"]}
            rows = [(ids[a["image_id"]], a["bbox"]) for a in coco["annotations"]]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"file '{folder / 'boxes.json'}' is no COCO annotation file ({error!r} is missing); see vision.boxes.to_coco"
            ) from None
        boxes = tuple(np.array([box for name, box in rows if name == file.name], dtype=np.int64).reshape(-1, 4) for file in files)
    checksum = config_hash([sha256_of(file) for file in files])
    return Pages(folder.name, tuple((file.name, file) for file in files), boxes, checksum=checksum)


def _docbank(paths: list[Path]) -> Pages:
    """Boxes lie on a grid of 0 to 1000 both ways; rows named ##LT… are lines and figures, not words."""
    pictures, words = pl.read_parquet(paths[0]), pl.read_parquet(paths[1]).filter(~pl.col("token").str.starts_with("##LT"))
    boxes, classes = [], []
    for page, content in pictures.select("page", "image").iter_rows():
        mine = words.filter(pl.col("page") == page)
        height, width = page_shape(content, page)
        corners = mine.select("x0", "y0", "x1", "y1").to_numpy() * np.array([width, height, width, height]) / 1000
        boxes.append(_from_corners(corners))
        classes.append(tuple(mine.filter((pl.col("x1") > pl.col("x0")) & (pl.col("y1") > pl.col("y0")))["structure"]))
    return Pages("docbank_pages", tuple(pictures.select("page", "image").iter_rows()), tuple(boxes), tuple(classes))


def _sroie(paths: list[Path]) -> Pages:
    pictures, lines = pl.read_parquet(paths[0]), pl.read_parquet(paths[1])
    boxes = []
    for page, scale in pictures.select("doc_id", "scale").iter_rows():
        boxes.append(_from_corners(lines.filter(pl.col("doc_id") == page).select("x0", "y0", "x1", "y1").to_numpy() * scale))
    return Pages("sroie_receipts", tuple(pictures.select("doc_id", "image").iter_rows()), tuple(boxes))


def _from_corners(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    rounded = np.rint(corners).astype(np.int64)
    boxes = np.column_stack([rounded[:, :2], rounded[:, 2:] - rounded[:, :2]])
    return boxes[(boxes[:, 2:] > 0).all(axis=1)]


_READERS: dict[str, Any] = {
    "docbank_pages": (
        (
            DataFile("docbank_pages/pages.parquet", "2fa3f7cea621306aa1f4be967785042773fc50983b19918dfb16b2d4c0ba5bc7"),
            DataFile("docbank_pages/words.parquet", "c5610f6828b1e6449825cd5412b50fb5220665a516cd3611f365a9d89026efaa"),
        ),
        _docbank,
        "Apache-2.0",
        "Li et al. 2020, DocBank: A Benchmark Dataset for Document Layout Analysis",
    ),
    "sroie_receipts": (
        (
            DataFile("sroie_receipts/images_448.parquet", "59ce89d92e13ebcdd0af667159896f8d1c4edf70c09491af991a8b7918405ab2"),
            DataFile("sroie_receipts/lines.parquet", "9ef52312dc24d3ce83a093ca874b8b4ec8c02471ed2127940a75c81caf1530d0"),
        ),
        _sroie,
        "MIT (repository); the licence of the ICDAR 2019 data is not stated",
        "Huang et al. 2019, ICDAR2019 Competition on Scanned Receipt OCR and Information Extraction",
    ),
}
