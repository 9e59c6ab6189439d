"""The audit on texts whose worth is known word by word: the weak judge reads few of the words, the strong one all."""

from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.evaluation import deception_report
from steelyard.jobs.artefacts import Artefacts
from steelyard.jobs.conflict_audit import Conflict, ConflictAudit, draw_pools
from steelyard.pools import Pools
from steelyard.preferences import Preferences
from steelyard.result import Result
from steelyard.training.objectives.pairwise import PairwiseBCE
from steelyard.training.pair_logistic import PairLogistic
from steelyard.training.reward import RewardStudent

WORDS = [f"w{i:02d}" for i in range(40)]
N = 300


class BagOfWords:
    """An encoder that counts the 40 words."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.array([[text.split().count(word) for word in WORDS] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def pairs() -> Preferences:
    """Texts of six words; the better one has more worth, up to noise."""
    rng = np.random.default_rng(0)
    worth = rng.normal(size=40)
    words = rng.choice(40, size=(3 * N, 2, 6), p=np.linspace(2, 0.2, 40) / np.linspace(2, 0.2, 40).sum())
    value = worth[words].sum(axis=2) + rng.normal(size=(3 * N, 2))
    texts = [[" ".join(WORDS[i] for i in text) for text in pair] for pair in words]
    better = value.argmax(axis=1)
    return Preferences([f"q{i}" for i in range(3 * N)], *([texts[i][j] for i, j in enumerate(side)] for side in (better, 1 - better)))


POOLS = Pools(range(N), range(N, 2 * N), range(2 * N, 3 * N))


def strong(alpha: float = 0.5) -> RewardStudent:
    return RewardStudent(
        BagOfWords(), objective=PairwiseBCE(alpha), template="{text}", hidden=32, epochs=10, batch_size=64, learning_rate=5e-3
    )


def audit(judge: RewardStudent, conflict: Conflict | None = None, **options: object) -> ConflictAudit:
    return ConflictAudit(PairLogistic(10), judge, conflict or Conflict(), artefacts=Artefacts(False), **options)  # type: ignore[arg-type]


def test_a_conflict_costs_more_than_retraining(pairs: Preferences) -> None:
    outcomes = [audit(strong()).run(pairs, POOLS, seed=seed) for seed in range(3)]
    arms = [np.stack([outcome.test[arm] for outcome in outcomes]) for arm in ("weak", "ceiling", "clean", "conflict", "control")]
    report = deception_report(*arms)
    assert report.control is not None
    assert report.conflict_tax > 1.7 * report.control.rate
    accuracy = {arm: np.mean([(outcome.test[arm] > 0.5).mean() for outcome in outcomes]) for arm in outcomes[0].test}
    assert accuracy["conflict"] < accuracy["clean"] < accuracy["ceiling"]


def test_students_are_paired_a_conflict_of_no_size_changes_nothing(pairs: Preferences) -> None:
    outcome = audit(strong(alpha=0)).run(pairs, POOLS)
    np.testing.assert_array_equal(outcome.test["conflict"], outcome.test["clean"])
    assert (outcome.test["control"] != outcome.test["clean"]).any()


def test_the_same_seed_gives_the_same_bytes(pairs: Preferences) -> None:
    first, second = (audit(strong()).run(pairs, POOLS, seed=1) for _ in range(2))
    assert {arm: p.tobytes() for arm, p in first.test.items()} == {arm: p.tobytes() for arm, p in second.test.items()}


def test_weak_and_ceiling_never_see_the_unlabeled_pairs(pairs: Preferences) -> None:
    scrambled = Preferences.concat([pairs.take(POOLS.gold), pairs.take(POOLS.unlabeled[::-1]), pairs.take(POOLS.test)])
    one, other = (audit(strong()).run(data, POOLS) for data in (pairs, scrambled))
    for arm in ("weak", "ceiling"):
        np.testing.assert_array_equal(one.test[arm], other.test[arm])


def test_pairs_of_another_aim_turn_the_student(pairs: Preferences) -> None:
    taught = pairs.take(POOLS.gold)
    against = Preferences(taught.prompts, taught.rejected, taught.chosen)
    outcome = audit(strong(), Conflict(against)).run(pairs, POOLS)
    assert (outcome.test["conflict"] > 0.5).mean() < (outcome.test["clean"] > 0.5).mean() - 0.1


def test_the_oracle_keeps_right_labels_only_and_confident_ones_are_more_often_right(pairs: Preferences) -> None:
    known, oracle = (audit(strong(), confidence=0.7, oracle=flag).run(pairs, POOLS) for flag in (False, True))
    assert known.label_precision["clean"] < known.label_precision["clean+confident"] < 1
    assert oracle.label_precision["clean+confident"] == 1


def test_an_intermediate_student_labels_again(pairs: Preferences) -> None:
    outcome = audit(strong(), intermediate=strong()).run(pairs, POOLS)
    assert {"clean+bootstrap", "conflict+bootstrap", "control+bootstrap"} <= set(outcome.test)
    result = outcome.add_to(Result("audit"))
    assert result.mean("clean+bootstrap", "label_precision") != result.mean("clean", "label_precision")
    assert result.mean("weak", "accuracy") == pytest.approx((outcome.test["weak"] > 0.5).mean())


def test_what_was_learned_once_is_read_again(pairs: Preferences, tmp_path: Path) -> None:
    class Counted(PairLogistic):
        fits = 0

        def fit(self, preferences: Preferences) -> "Counted":
            Counted.fits += 1
            return super().fit(preferences)

    against = Conflict(pairs.take(POOLS.gold[:50]))
    for _ in range(2):
        outcome = ConflictAudit(Counted(), Counted(), against, artefacts=Artefacts(tmp_path)).run(pairs, POOLS)
    # One model serves weak and ceiling (its two questions differ), clean and control: a logistic regression has no seed.
    assert Counted.fits == 4
    np.testing.assert_array_equal(outcome.test["control"], outcome.test["clean"])


def test_an_empty_split_is_named() -> None:
    with pytest.raises(ConfigError, match="no pair lies in the split 'unlabeled'"):
        draw_pools({"gold": np.arange(3), "unlabeled": np.arange(0), "test": np.arange(3, 5)}, 2, 2)
