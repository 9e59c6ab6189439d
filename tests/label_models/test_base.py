"""Files of label models: what is in one is never more than a label model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from steelyard import Votes
from steelyard.errors import DataError
from steelyard.label_models import MajorityVote
from steelyard.label_models.base import LabelModel


@pytest.mark.parametrize("model", ["select", "CrowdLab", "no such model", None])
def test_a_file_that_names_anything_else_is_refused(model: str | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"class_prior_": np.full(2, 0.5)}, path, metadata={"steelyard": json.dumps({"model": model, "parameters": {}, "fitted": {}})})
    with pytest.raises(DataError, match="does not hold a label model"):
        LabelModel.load(path)


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x08\x00\x00")
    with pytest.raises(DataError, match="truncated"):
        LabelModel.load(path)
    with pytest.raises(DataError, match="does not exist"):
        LabelModel.load(tmp_path / "nothing.safetensors")


def test_gold_drawn_per_class_does_not_set_the_prior() -> None:
    """Nine in ten rows are "a"; as many gold rows of either class must not make the silent rows a toss-up."""
    y = (np.arange(1000) % 10 == 0).astype(int)
    votes = Votes(np.where(np.arange(1000)[:, None] % 3 == 0, -1, np.column_stack([y, y])), classes=["a", "b"])
    gold = np.full(1000, -1)
    gold[np.flatnonzero(y == 1)[:15]], gold[np.flatnonzero(y == 0)[:15]] = 1, 0
    per_class, at_random = MajorityVote().fit(votes, gold), MajorityVote().fit(votes, np.where(np.arange(1000) < 30, y, -1))
    assert (per_class.class_prior_source_, at_random.class_prior_source_) == ("votes", "gold")
    assert abs(per_class.class_prior_[0] - 0.9) < 0.03
    assert MajorityVote().fit(votes, y).class_prior_source_ == "gold"
