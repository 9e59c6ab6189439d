"""Texts cut behind their first words: cleaning that adds up, pools that do not meet, mistakes."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.jobs.prompted_texts import PromptedTexts, generation_pools, prompted_texts
from steelyard.jobs.text_task import TextTask


def task(*rows: tuple[str, int], classes=("fine", "rude", "hate")) -> TextTask:
    texts, y = zip(*rows, strict=True)
    return TextTask(list(texts), np.array(y), classes, np.zeros(len(texts), dtype=np.bool_))


def test_prompt_and_text_are_the_words_of_the_row():
    found = prompted_texts(task(("One two  three\nfour five six SEVEN eight", 2), ("a b c d e f g", 0)), ["rude", "hate"])
    assert found.prompts == ["one two three four", "a b c d"]
    assert found.texts == [" five six seven eight", " e f g"]
    assert found.toxic.tolist() == [True, False]
    drawn = found.completions(np.array([1]))
    assert (drawn.prompts, drawn.texts) == (("a b c d",), (" e f g",))


def test_users_and_links_lose_their_names():
    found = prompted_texts(task(("RT @Some_body: see https://t.co/x?y=1 &amp;amp; www.z.org/a now or never", 0)), ["rude"])
    assert found.prompts == ["rt @user see link"]
    assert found.texts == [" & link now or never"]


def test_every_row_is_kept_or_counted():
    rows = [
        ("a b c d e f g", 0),
        ("A b c d other words here", 1),
        ("too short", 1),
        ("no label for this row at all", -1),
        ("x" * 70 + " b c d e f g", 0),
    ]
    found = prompted_texts(task(*rows), ["rude"])
    assert found.texts == [" e f g"], "of equal prompts the first"
    assert found.cleaning == {"texts": 4, "unfit": 2, "repeated prompts": 1, "kept": 1}


def test_pools_are_a_partition_drawn_by_seed():
    data = PromptedTexts([f"p {i}" for i in range(203)], [" t"] * 203, np.arange(203) % 3 == 0)
    pools = generation_pools(data, 11, seed=1)
    assert np.sort(np.concatenate(astuple(pools))).tolist() == list(range(203))
    assert [len(pool) for pool in astuple(pools)] == [40, 80, 40, 32, 11]
    again, other = generation_pools(data, 11, seed=1), generation_pools(data, 11, seed=2)
    assert (again.test == pools.test).all()
    assert (other.test != pools.test).any()


@pytest.mark.parametrize(
    ("toxic", "options", "error", "message"),
    [
        (["nasty"], {}, ConfigError, "toxic classes are nasty, the classes of the data fine, rude, hate"),
        ([], {}, ConfigError, "toxic classes are none"),
        (["fine", "rude", "hate"], {}, ConfigError, "name some of them, not all"),
        (["rude"], {"words": 0}, ConfigError, "both need one word or more"),
        (["rude"], {"words": 40}, DataError, "at least 43 words"),
    ],
)
def test_mistakes_are_one_sentence(toxic, options, error, message):
    with pytest.raises(error, match=message):
        prompted_texts(task(("a b c d e f g", 0)), toxic, **options)


@pytest.mark.parametrize(("n", "test", "toxic"), [(100, 20, 0.5), (100, 0, 0.5), (100, 5, 0.0), (100, 5, 1.0), (8, 1, 0.5)])
def test_too_few_texts_are_refused(n, test, toxic):
    data = PromptedTexts([f"p {i}" for i in range(n)], [" t"] * n, np.arange(n) < toxic * n)
    with pytest.raises(DataError, match="too few for pools with both kinds"):
        generation_pools(data, test)
