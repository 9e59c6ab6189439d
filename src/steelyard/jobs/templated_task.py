"""Tasks over several fields, such as a question about a clause: one template writes every row, so training and test read alike.

The instruction and the fields become one text before anything is split; nothing is rendered a second time. Ye, Xiao, Hui 2024,
"Weak-to-Strong Generalization beyond Accuracy".
"""

from __future__ import annotations

import dataclasses
import os
import string
from pathlib import Path

import numpy as np
import polars as pl

from steelyard import datasets
from steelyard.datasets import Dataset, encode_labels
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.distinct import distinct_rows
from steelyard.jobs.text_task import TEST, TextTask, splits_to_read


def load_templated_task(data: str | os.PathLike[str], template: str, *, label: str = "label") -> TextTask:
    """Read a data set and write each row as one text; each text once, those with two labels not at all.

    Parameters
    ----------
    data : str or path
        Name of a data set, path of a table, or a Hugging Face data set. A split named ``test`` is measured on; a text that also lies there
        teaches nobody, nor does one of a further test split such as ``test_hard``.
    template : str
        Columns in braces, as in ``Question: {question} [SEP] Clause: {clause}``.
    label : str
        Label column of a table or Hugging Face data set.

    Raises
    ------
    ConfigError
        The template has no field, reads the label, or has braces that do not close.
    DataError
        The data cannot be read, lack a column or hold no whole row.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "policies.csv"
    >>> _ = file.write_text("q,clause,label\\nIs it sold?,We sell it.,Relevant\\nIs it sold?,We like tea.,Irrelevant\\n")
    >>> load_templated_task(file, "Question: {q} [SEP] Clause: {clause}").texts[0]
    'Question: Is it sold? [SEP] Clause: We sell it.'
    """
    fields = _fields(template)
    found = _load(data, label)
    if found.label in fields:
        raise ConfigError(f"the template reads the column '{found.label}', which is the label that is to be found out; leave it out")
    names = splits_to_read(found)
    for name in names:
        if missing := [field for field in fields if field not in found[name].columns]:
            raise DataError(
                f"data '{data}' has no column '{missing[0]}' for the template; its columns are {', '.join(found[name].columns)}"
            )
    table = pl.concat([found[name].select(*dict.fromkeys([*fields, found.label])) for name in names])
    parts = {field: table[field].cast(pl.String).str.strip_chars().fill_null("") for field in fields}
    whole = np.flatnonzero(np.all([(part != "").to_numpy() for part in parts.values()], axis=0))
    if not len(whole):
        raise DataError(f"data '{data}' hold no row in which {', '.join(fields)} are filled")
    split = np.repeat([name == TEST for name in names], [len(found[name]) for name in names])
    texts = [
        template.format(**dict(zip(parts, row, strict=True))) for row in zip(*(part.gather(whole) for part in parts.values()), strict=True)
    ]
    y = encode_labels(table[found.label], found.classes)
    distinct = distinct_rows(texts, y[whole])
    rows = whole[distinct.rows]
    cleaning = {"rows": len(table), "empty": len(table) - len(whole), **distinct.counts()}
    about = {name: getattr(found, name) for name in ("name", "licence", "citation", "checksum")}
    return TextTask([texts[row] for row in distinct.rows], y[rows], found.classes, split[rows], None, cleaning, about)


def _fields(template: str) -> tuple[str, ...]:
    try:
        fields = tuple(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name is not None))
    except ValueError as error:
        raise ConfigError(f"template '{template}' cannot be read ({error}); write columns in braces: Question: {{question}}") from None
    if not fields or not all(field.isidentifier() for field in fields):
        raise ConfigError(f"template '{template}' names no column, or one that is no word; write columns in braces: Question: {{question}}")
    return fields


def _load(data: str | os.PathLike[str], label: str) -> Dataset:
    name = os.fspath(data)
    if datasets.is_hugging_face(name):
        return datasets.from_hugging_face(name, label=label)
    if Path(name).suffix.lower() not in datasets.SUFFIXES:
        return datasets.load(name)
    found = datasets.from_table(name, label=label)
    # Without a split column the test rows are drawn by seed, not by the hash of the text.
    own = "split" in datasets.TableFile(name).columns
    return found if own else dataclasses.replace(found, splits={"all": pl.concat(list(found.splits.values()))})
