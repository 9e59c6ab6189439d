"""The picture of arms: every arm named in order, the same bytes each time, undefined numbers left out."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from steelyard.errors import DataError
from steelyard.report import arm_plot
from steelyard.result import Result


def result() -> Result:
    made = Result("demo")
    for seed in range(3):
        made.add("weak", seed, "accuracy", 0.6 + 0.01 * seed).add("filter=none & $x$", seed, "accuracy", 0.7 - 0.01 * seed)
        made.add("ceiling", seed, "accuracy", 0.9 if seed else math.nan).add("silent", seed, "accuracy", math.nan)
    return made


def test_every_arm_with_a_number_is_named_in_order() -> None:
    svg = arm_plot(result(), "accuracy")
    texts = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    names = [text for text in texts if text and not text.replace(".", "").isdigit()]
    assert names == ["accuracy", "weak", "filter=none & $x$", "ceiling"]
    assert "silent" not in svg


def test_it_is_the_same_bytes_each_time_and_one_seed_is_enough() -> None:
    assert arm_plot(result(), "accuracy") == arm_plot(result(), "accuracy")
    assert arm_plot(Result("one").add("method", 0, "f1", 0.5), "f1").startswith("<svg")


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(DataError, match="has no number of 'f1' to draw"):
        arm_plot(result(), "f1")
