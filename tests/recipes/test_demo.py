from __future__ import annotations

import polars as pl

from steelyard import apply
from steelyard.recipes.demo import docstring_rules


def test_rules_speak_for_every_library_and_have_their_own_names() -> None:
    rules = docstring_rules()
    assert len({rule.name for rule in rules}) == len(rules) == 20
    named = {label for rule in rules for label in rule.labels or ()}
    assert named == {"matplotlib", "numpy", "polars", "scipy", "sklearn"}


def test_rules_read_text_and_nothing_else() -> None:
    votes = apply(docstring_rules(), pl.DataFrame({"text": ["Draw the axes of the figure.", "Fit the estimator to training features."]}))
    assert {votes.classes[c] for c in votes.codes[0] if c >= 0} == {"matplotlib"}
    assert {votes.classes[c] for c in votes.codes[1] if c >= 0} == {"sklearn"}
