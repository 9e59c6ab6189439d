"""What a Dataset refuses, and labels to codes and back."""

import numpy as np
import polars as pl
import pytest

from steelyard import datasets
from steelyard.datasets import Dataset, decode_labels, encode_labels
from steelyard.errors import DataError
from steelyard.votes import Votes

TABLE = pl.DataFrame({"text": ["a", "b"], "label": ["X", None]})


def test_labels_round_trip() -> None:
    codes = np.array([2, -1, 0, 1])
    assert (encode_labels(decode_labels(codes, ("p", "q", "r")), ("p", "q", "r")) == codes).all()


def test_unknown_split_column_label_and_misfit_votes() -> None:
    data = Dataset("tiny", {"train": TABLE}, ("X", "Y"), "text")
    assert data.labels("train").tolist() == [0, -1]
    with pytest.raises(DataError, match="no split 'test'; it has train"):
        data["test"]
    with pytest.raises(DataError, match="no column 'body'"):
        Dataset("tiny", {"train": TABLE}, ("X", "Y"), "body")
    with pytest.raises(DataError, match="label 'X', which is not a class; classes are P, Q"):
        Dataset("tiny", {"train": TABLE}, ("P", "Q"), "text")
    with pytest.raises(DataError, match="2 items but votes for 3"):
        Dataset("tiny", {"train": TABLE}, ("X", "Y"), "text", votes={"train": Votes([[0], [0], [1]], classes=["X", "Y"])})


@pytest.mark.parametrize(("name", "shape"), [("breast_cancer", (398, 31)), ("digits", (1257, 65)), ("wine", (124, 14))])
def test_bundled_tables(name: str, shape: tuple[int, int]) -> None:
    data = datasets.load(name)
    assert data["train"].shape == shape
    assert set(data.labels("test")) == set(range(len(data.classes)))
