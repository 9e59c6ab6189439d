"""Bundled text data: which installed library does a docstring come from?

Built from the source files of five packages that every installation has, by parsing: nothing is imported or run. The names of the
packages are masked, examples are cut, texts that occur twice are dropped, and whole files go to one split, so that neighbours never
lie on both sides.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import polars as pl

from steelyard.datasets.dataset import Dataset
from steelyard.errors import DataError
from steelyard.storage import atomic_path, cache_dir, config_hash

PACKAGES = {"matplotlib": "matplotlib", "numpy": "numpy", "polars": "polars", "scipy": "scipy", "sklearn": "scikit-learn"}

# What would give the answer away: package names, the prefixes they are imported under, and their users' words for them.
_NAMES = re.compile(
    r"\b(matplotlib|mpl_?toolkits|mpl|pyplot|pylab|plt|numpy|np|polars|pl|scipy|sp|sklearn|scikit[- ]learn|scikits?)\b", re.IGNORECASE
)
_FOREIGN_FOLDERS = {"tests", "test", "testing", "externals", "_external", "_vendor", "vendor", "array_api_compat", "array_api_extra"}
# Per package and per file: balanced classes, many files, a parse of a few seconds.
_TEXTS_PER_PACKAGE, _TEXTS_PER_FILE, _LARGEST_FILE = 900, 30, 60_000
_LETTERS = (60, 400)
_VERSION = 1


def read(paths: Mapping[str, Path], subset: str | None) -> Dataset:
    """Build the data set, or read it from the cache if the same versions of the packages are still installed."""
    versions = {name: version(distribution) for name, distribution in PACKAGES.items()}
    key = config_hash({"versions": versions, "builder": _VERSION})
    cached = cache_dir() / "datasets" / f"docstrings-{key}.parquet"
    if not cached.is_file():
        table = build(tuple(PACKAGES))
        with atomic_path(cached) as temporary:
            table.write_parquet(temporary)
    table = pl.read_parquet(cached)
    splits = {split: table.filter(pl.col("split") == split).drop("split") for split in ("train", "valid", "test")}
    return Dataset("docstrings", splits, tuple(PACKAGES), "text", checksum=key)


def build(packages: tuple[str, ...]) -> pl.DataFrame:
    """Parse the packages' files: one row per documented function or class.

    Returns
    -------
    polars.DataFrame
        Columns ``text`` (60 to 400 letters, names masked), ``label`` (the package), ``module`` (file within it), ``split``.
    """
    rows = [
        {"text": text, "label": package, "module": module, "split": _split_of(f"{package}/{module}")}
        for package in packages
        for module, text in islice(_package_texts(package), _TEXTS_PER_PACKAGE)
    ]
    table = pl.DataFrame(rows, schema={"text": pl.String, "label": pl.String, "module": pl.String, "split": pl.String})
    # A text found in two packages has no answer; one found twice in the same package could lie in both splits.
    once = table.with_columns(_key=pl.col("text").str.to_lowercase().str.replace_all(r"[^a-z]+", " "))
    shared = pl.col("label").n_unique().over("_key") > 1
    return once.filter(~shared).unique("_key", keep="first", maintain_order=True).drop("_key")


def _package_texts(package: str) -> Iterator[tuple[str, str]]:
    """(file, text) pairs, files in the order of their names' hashes: a fair sample, however many are taken."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"package '{package}' is not installed; install steelyard's dependencies again")
    root = Path(next(iter(spec.submodule_search_locations)))
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    for module in sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if _FOREIGN_FOLDERS.isdisjoint(Path(module).parts[:-1]) and files[module].stat().st_size <= _LARGEST_FILE:
            for text in islice(_texts(files[module].read_text(encoding="utf-8", errors="replace")), _TEXTS_PER_FILE):
                yield module, text


def _texts(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop(0)
        for child in getattr(node, "body", []):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = _prose(ast.get_docstring(child) or "")
                if len(text) >= _LETTERS[0]:
                    yield text
                if isinstance(child, ast.ClassDef):
                    pending.append(child)


def _prose(docstring: str) -> str:
    """The words of a docstring: examples cut, package names masked, white space joined, at most 400 letters."""
    lines = [line for line in docstring.splitlines() if not line.lstrip().startswith((">>>", "...", "│", "┌", "└", "╞"))]
    text = re.sub(r"\s+", " ", _NAMES.sub("library", " ".join(lines))).strip()
    return text if len(text) <= _LETTERS[1] else text[: _LETTERS[1]].rsplit(" ", 1)[0]


def _split_of(module: str) -> str:
    # Another byte than the one that orders the files, or the last files of a package would share a split.
    bucket = hashlib.sha256(module.encode()).digest()[7]
    return "train" if bucket < 154 else "valid" if bucket < 180 else "test"
