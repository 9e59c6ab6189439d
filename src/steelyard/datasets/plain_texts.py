"""Plain text to pretrain a language model on, and text held out to measure it: plays, public-domain books, or a user's own file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from steelyard.datasets.resolve import DataFile, locate, sha256_of
from steelyard.datasets.tables import SUFFIXES, TableFile
from steelyard.errors import DataError
from steelyard.storage import config_hash

HELD_OUT = 0.1
_HELD_OUT_SPLITS = ("test", "valid", "validation", "val", "held_out")


@dataclass(frozen=True)
class PlainText:
    """Texts to learn and texts to measure on.

    Examples
    --------
    >>> plain = PlainText("two lines", ("to be or not",), ("to be",))
    >>> plain.characters
    12
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    licence: str = "unknown"
    citation: str = ""
    checksum: str = ""

    @property
    def characters(self) -> int:
        """Length of all texts to learn."""
        return sum(map(len, self.train))


def load_plain_text(name: str | os.PathLike[str], *, text: str = "text", root: str | os.PathLike[str] | None = None) -> PlainText:
    """Load text by name, or from a table (Parquet, CSV, JSON lines) with a text column and optionally ``split``, or from a ``.txt`` file.

    What is held out are the rows whose split is test or valid; without splits the last tenth of the rows, or of the characters where there
    are fewer than ten rows.

    Parameters
    ----------
    name
        ``tiny_shakespeare``, ``books_plain_text``, or a path.
    text
        Text column of a table.
    root
        Folder to read from instead of ``$STEELYARD_DATA`` and the cache.

    Raises
    ------
    DataError
        The name is unknown, a file is missing, of another version or not readable, the column is missing, or nothing is left to learn.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mine.jsonl"
    >>> _ = file.write_text('{"text": "' + "abcdefghij" * 2 + '"}\\n')
    >>> load_plain_text(file).test
    ('ij',)
    """
    path = Path(name)
    if path.suffix.lower() == ".txt":
        return _divided(path.stem, pl.DataFrame({"text": [_read(path)]}), sha256_of(path)[:16])
    if path.suffix.lower() in SUFFIXES or path.is_dir():
        file = TableFile(path)
        file.require(text)
        if file.schema[text] != pl.String:
            raise DataError(f"column '{text}' of '{path}' holds {file.schema[text]}, not text; name the column of texts")
        table = file.read().rename({text: "text"} if text != "text" else {})
        return _divided(path.stem, table.filter(pl.col("text").str.len_bytes() > 0), file.fingerprint()[:16])
    if str(name) not in _FILES:
        raise DataError(f"no plain text named '{name}'; known are {', '.join(_FILES)}, or give the path of a table or a .txt file")
    found, licence, citation = _FILES[str(name)]
    part = _divided(str(name), pl.read_parquet(locate(found, root=root)), config_hash([found.sha256]))
    return PlainText(part.name, part.train, part.test, licence, citation, part.checksum)


def _divided(name: str, table: pl.DataFrame, checksum: str) -> PlainText:
    texts = table["text"].to_list()
    held = table["split"].cast(pl.String).is_in(_HELD_OUT_SPLITS).to_list() if "split" in table.columns else []
    if any(held):
        train = [text for text, is_held in zip(texts, held, strict=True) if not is_held]
        test = [text for text, is_held in zip(texts, held, strict=True) if is_held]
    elif len(texts) >= 10:
        cut = len(texts) - max(1, round(HELD_OUT * len(texts)))
        train, test = texts[:cut], texts[cut:]
    else:
        cuts = [len(text) - round(HELD_OUT * len(text)) for text in texts]
        train = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
        test = [text[cut:] for text, cut in zip(texts, cuts, strict=True)]
    if not any(train) or not any(test):
        raise DataError(f"'{name}' leaves nothing to learn from or to measure on ({len(texts)} texts); give more text")
    return PlainText(name, tuple(train), tuple(test), checksum=checksum)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"text file '{path}' cannot be read ({error}); check the path and save it as UTF-8") from None


_FILES: dict[str, tuple[DataFile, str, str]] = {
    "tiny_shakespeare": (
        DataFile("tiny_shakespeare/data.parquet", "f86f6a2d15e1e34879ce55bf319aba8f59038b6baa2f79a8d473cfc102679e2e"),
        "public domain",
        "Karpathy 2015, char-rnn: plays of Shakespeare in one file",
    ),
    "books_plain_text": (
        DataFile("books_plain_text/books.parquet", "b93da8e377be7833e87af8a804e849dfeb0a4320d1823602e7de079bdf5f3545"),
        "public domain in the United States",
        "Schmitt, classic-books-markdown: 60 English books of 1600 to 1928",
    ),
}
