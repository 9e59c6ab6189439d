"""Interactive weak supervision: who is asked what, which rules are kept, and experts that answer badly."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import SourceError
from steelyard.sources import InteractiveWS, ask_on_terminal
from steelyard.sources.interactive import Question
from steelyard.sources.surrogate import BaggedNetworks

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 300)
# Ten features tell the class, twenty tell nothing.
X = RNG.normal(size=(300, 30)) + 1.5 * Y[:, None] * (np.arange(30) < 10)


def made(**options) -> InteractiveWS:
    return InteractiveWS(**{"members": 8, "epochs": 60, "queries": 6, **options}).fit(X[:100], Y[:100], X[100:], classes=["no", "yes"])


def test_an_expert_is_asked_about_distinct_rules_and_confirmed_ones_are_kept() -> None:
    seen: list[Question] = []

    def expert(question: Question) -> bool:
        seen.append(question)
        return question.accuracy > 0.75

    maker = made(expert=expert, keep="confirmed")
    assert len(seen) == len(maker.asked_) == 6 + 4
    assert len({question.description for question in seen}) == len(seen)
    said = set(maker.describe().values())
    assert said == {question.description for question in seen if question.accuracy > 0.75}
    assert all(question.votes.shape == (200,) and question.classes == ("no", "yes") for question in seen)


def test_the_final_set_is_capped_and_holds_nothing_that_was_denied() -> None:
    few, all_ = made(most=3), made(keep="all")
    confirmed = [entry["rule"] for entry in few.asked_ if entry["answer"] == "useful"]
    denied = {entry["rule"] for entry in few.asked_ if entry["answer"] == "not"}
    assert len(few.sources_) <= len(confirmed) + 3
    assert set(confirmed) <= set(few.describe().values())
    assert not denied & set(few.describe().values())
    assert len(all_.sources_) >= len(few.sources_)


def test_kept_rules_are_better_than_all_candidates() -> None:
    from steelyard.sources.rules import Rules, feature_subsets

    votes = made(keep="confirmed", acquisition="greedy", queries=12).vote(X[100:])
    kept = np.mean([(column == Y[100:])[column >= 0].mean() for column in votes.codes.T])
    every = Rules.fit(X[:100], Y[:100], ("no", "yes"), feature_subsets(30)).votes(X[100:])
    assert kept > (every == Y[100:, None]).mean() + 0.05


def test_the_same_seed_asks_the_same_questions() -> None:
    assert made().asked_ == made().asked_
    assert made().asked_ != made(seed=1).asked_


def test_a_person_may_not_know_and_may_mistype(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = iter(["what?", " Likely "])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    assert ask_on_terminal(Question("height > 3 → yes", ("no", "yes"), np.array([1, -1], np.int8), 0.5)) == "likely"
    assert "yes 50 %" in capsys.readouterr().out
    with pytest.raises(SourceError, match="found no rule worth keeping"):
        made(expert=lambda question: "unknown", keep="confirmed")
    with pytest.raises(SourceError, match="the expert answered 'maybe'"):
        made(expert=lambda question: "maybe")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acquisition": "random"}, "straddle or greedy"),
        ({"queries": -1}, "queries >= 0"),
        ({"initial": 40}, "candidate rules vote on the labelled rows and 80 are needed"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        made(**options)


def test_the_surrogate_is_less_sure_away_from_what_it_saw_and_ignores_weightless_answers() -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = x[:, 0] > 0
    near, spread = BaggedNetworks(epochs=400).fit(x, y).predict(x)
    assert ((near > 0.5) == y).mean() > 0.9
    assert BaggedNetworks(epochs=400).fit(x, y).predict(8 * x[:, ::-1] * [1, -1])[1].mean() > spread.mean()
    wrong = np.concatenate([y, ~y])
    weights = np.concatenate([np.ones(60), np.zeros(60)])
    mean, _ = BaggedNetworks(epochs=400).fit(np.concatenate([x, x]), wrong, weights).predict(x)
    assert ((mean > 0.5) == y).mean() > 0.9
