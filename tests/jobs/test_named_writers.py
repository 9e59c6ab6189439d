"""Writers by name: what is trained here, what is read from a folder, and scorers that were saved."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard import Targets
from steelyard.completions import Completions
from steelyard.errors import ConfigError, DataError
from steelyard.jobs.named_writers import saved_scorer, strong_writer, weak_writer
from steelyard.language.tiny_lm import tiny_lm
from steelyard.training import SklearnStudent

TEXTS = [f"the {a} saw the {b}" for a in ("cat", "dog", "bird") for b in ("house", "tree", "hill")] * 4


def test_a_tiny_model_reads_the_texts_it_is_given():
    made = {steps: strong_writer("tiny", 6, steps=steps, size="nano")(TEXTS, 0) for steps in (1, 60)}
    scores = {steps: model.logprob(["the cat"], [" saw the tree"])[0] for steps, model in made.items()}
    assert scores[60] > scores[1] + 3
    assert len(made[60].sample(["the cat"], 2).texts) == 2


def test_a_model_of_ones_own_on_both_sides(tmp_path):
    tiny_lm(TEXTS, size="nano", steps=2).save(tmp_path)
    name = str(tmp_path / "model")
    weak, strong = weak_writer(name, 4), strong_writer(name, 4)(["not read"], 5)
    assert (strong.seed, strong.max_new_tokens, strong.learning_rate) == (5, 8, 5e-5)
    assert weak.fit(Completions(["the cat"] * 4, [" saw the tree"] * 4)).sample(["the"], temperature=0).prompts == ("the",)
    with pytest.raises(DataError, match="cannot be loaded"):
        weak_writer(str(tmp_path / "none"), 4).sample(["a"])


def test_a_saved_student_scores(tmp_path):
    targets = Targets.from_labels(np.array([0, 1, 2, 0]), classes=["fine", "rude", "hate"])
    student = SklearnStudent().fit(["nice day", "silly thing", "awful thing", "nice thing"], targets)
    student.save(tmp_path)
    texts = ["nice", "silly", "awful"]
    np.testing.assert_allclose(saved_scorer(tmp_path, ["rude", "hate"])(texts), 1 - student.predict_proba(texts)[:, 0], atol=1e-6)
    with pytest.raises(ConfigError, match="does not know the class 'toxic'; its classes are fine, rude, hate"):
        saved_scorer(tmp_path, ["toxic"])
