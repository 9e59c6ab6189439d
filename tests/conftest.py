"""Fixtures every test file shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two test workers on two cores: one thread each, set before any numeric library starts its pool.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets, or a skip that says how to get one."""
    named = os.environ.get("STEELYARD_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("set STEELYARD_DATA to the folder of real data sets to run this test")
    return Path(named)


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
