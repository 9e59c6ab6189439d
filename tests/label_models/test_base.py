"""Files of label models: what is in one is never more than a label model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from steelyard.errors import DataError
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
