"""A chain is its steps done by hand; with fresh rows nobody labels what it saw; a saved chain predicts the same."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.targets import Targets
from steelyard.training import BootstrapChain, HeadStudent, SklearnStudent, load_student


def task(n: int = 300) -> tuple[np.ndarray, np.ndarray, Targets]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    p = np.clip(0.5 + 0.2 * x[:, 0], 0.05, 0.95)
    return x, y, Targets(np.column_stack([1 - p, p]), classes=["no", "yes"])


def test_a_chain_is_its_steps_done_by_hand():
    x, _, targets = task()
    some = targets.take(np.arange(0, 300, 2))
    chain = BootstrapChain([SklearnStudent(), HeadStudent(hidden=8, epochs=3)], seed=5).fit(x, some)
    first = SklearnStudent().fit(x, some)
    relabelled = Targets(first.predict_proba(x[some.rows]), classes=["no", "yes"], rows=some.rows)
    second = HeadStudent(hidden=8, epochs=3, seed=5).fit(x, relabelled)
    np.testing.assert_array_equal(chain.predict_proba(x), second.predict_proba(x))


class Witness(SklearnStudent):
    """Remembers the rows that it learned from and labelled."""

    def fit(self, data, targets):
        self.learned_ = set(targets.rows.tolist())
        return super().fit(data, targets)

    def predict_proba(self, data):
        self.labelled_ = data
        return super().predict_proba(data)


def test_with_fresh_rows_nobody_labels_what_it_learned_from():
    x, _, targets = task()
    chain = BootstrapChain([Witness(), Witness(), Witness()], fresh=True, seed=1).fit(x, targets)
    sets = [student.learned_ for student in chain.students_]
    assert set.union(*sets) == set(range(300))
    assert sum(map(len, sets)) == 300
    for student, following in zip(chain.students_, sets[1:], strict=False):
        np.testing.assert_array_equal(np.sort(student.labelled_, axis=0), np.sort(x[sorted(following)], axis=0))
    again = BootstrapChain([Witness()] * 3, fresh=True, seed=2).fit(x, targets)
    assert again.students_[0].learned_ != sets[0]


def test_weights_stay_with_their_rows():
    x, y, _ = task()
    wrong = np.arange(300) % 2 == 0
    weighted = Targets(np.eye(2)[np.where(wrong, 1 - y, y)], classes=["no", "yes"], weights=np.where(wrong, 0.0, 1.0))
    chain = BootstrapChain([SklearnStudent(), SklearnStudent()]).fit(x, weighted)
    assert (chain.predict(x) == y).mean() > 0.95


def test_a_saved_chain_predicts_the_same(tmp_path):
    x, _, targets = task()
    chain = BootstrapChain([SklearnStudent(), HeadStudent(epochs=2)]).fit(x, targets)
    chain.save(tmp_path / "chain")
    assert load_student(tmp_path / "chain").predict_proba(x).tobytes() == chain.predict_proba(x).tobytes()


def test_an_empty_chain_is_refused():
    x, _, targets = task()
    with pytest.raises(ConfigError, match="there is no student"):
        BootstrapChain([]).fit(x, targets)
