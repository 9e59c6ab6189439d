"""Attribute extraction on a user's own tables, and a short run of the stand-in."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from steelyard.errors import ConfigError, DataError, SourceError
from steelyard.recipes.queaco import Queaco, run


def own_tables(folder: Path) -> dict[str, str]:
    words = [["red", "nike", "shoes"], ["blue", "puma", "bag"]] * 6
    rows = pl.DataFrame({"words": words, "tags": [["O", "B-brand", "O"]] * 12, "split": (["train"] * 2 + ["test"]) * 4})
    clicks = pl.DataFrame({"query": ["nike shirt", "puma socks", "green puma"], "product": ["n", "p", "p"], "count": [5, 6, 7]})
    products = pl.DataFrame({"product": ["n", "p"], "type": ["brand"] * 2, "value": ["Nike", "Puma"]})
    for name, table in (("data", rows), ("clicks", clicks), ("products", products)):
        table.write_parquet(folder / f"{name}.parquet")
    return {name: str(folder / f"{name}.parquet") for name in ("data", "clicks", "products")}


def test_own_tables_run_end_to_end(tmp_path: Path) -> None:
    arms = ("strong only", "weak only", "self-training", "method")
    result = run(Queaco(**own_tables(tmp_path), arms=arms, steps=8, finetune_steps=4, learning_rate=0.03, seeds=(0,)))
    assert tuple(result.arms) == arms
    assert result.mean("method", "f1") > 0.9


def test_values_of_the_stand_in_back_off(data_root: Path) -> None:
    result = run(Queaco(arms=("strong only",), strong=20, steps=3, seeds=(0,)))
    accuracy = {arm: result.mean(arm, "value_accuracy") for arm in ("first seen", "counts", "counts + back-off")}
    assert accuracy["first seen"] + 0.04 <= accuracy["counts"] <= accuracy["counts + back-off"] - 0.05
    assert result.mean("strong only", "value_f1") >= 0


def test_bad_input_is_named(tmp_path: Path) -> None:
    tables = own_tables(tmp_path)
    with pytest.raises(ConfigError, match="no arm named 'magic'"):
        run(Queaco(arms=("magic",)))
    with pytest.raises(ConfigError, match="own data need a log"):
        run(Queaco(data=tables["data"]))
    with pytest.raises(SourceError, match="no column 'query'"):
        run(Queaco(**{**tables, "clicks": tables["products"]}))
    pl.read_parquet(tables["data"]).with_columns(tags=pl.Series([["?"] * 3] * 12)).write_parquet(tables["data"])
    with pytest.raises(DataError, match="is not BIO"):
        run(Queaco(**tables, seeds=(0,)))
