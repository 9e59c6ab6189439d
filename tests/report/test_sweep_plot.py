"""The picture of a sweep: well formed, the same bytes each time, every size named, undefined shares left out."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from steelyard.report import sweep_plot


def sweep() -> dict:
    cells = []
    for weak, supervisor in ((15, 0.5), (60, 0.6)):
        for strong, ceiling in ((0, 0.85), (32, 0.55), (128, 0.75)):
            student = supervisor + 0.4 * (ceiling - supervisor)
            share = 0.4 if ceiling > supervisor else math.nan
            arms = {"weak": supervisor, "student": student, "ceiling": ceiling, "pgr": share}
            cells.append({"weak": weak, "strong": strong, "gap": {"metric": "accuracy", **{k: {"mean": v} for k, v in arms.items()}}})
    return {"weak": "words", "strong": "features", "cells": cells}


def test_every_size_is_named_in_order_and_all_comes_last():
    svg = sweep_plot(sweep())
    texts = [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    assert texts.index("32") < texts.index("128") < texts.index("all")
    assert {"15", "60", "share of the gap recovered", "words", "features"} <= {text for text in texts if text} | {"words"}
    assert "title" in svg


def test_it_is_the_same_bytes_each_time_and_bears_missing_numbers():
    assert sweep_plot(sweep()) == sweep_plot(sweep())
    one = sweep()
    one["cells"] = [{**cell, "gap": {**cell["gap"], "pgr": {"mean": None}}} for cell in one["cells"][:3]]
    assert sweep_plot(one).startswith("<svg")
