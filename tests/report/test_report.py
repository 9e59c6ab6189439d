"""The page shows what the result holds, nothing else, and never lets data become markup."""

from __future__ import annotations

import io
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from steelyard import Result
from steelyard.errors import DataError
from steelyard.report import calibration_plot, confusion_plot, gap_bar, print_result, render_report, risk_coverage_plot, write_report

EVIL = "<script>alert('x')</script>\"'&$x^2$"
GAP = {
    "metric": "accuracy",
    "weak": {"mean": 0.6, "low": 0.58, "high": 0.62},
    "student": {"mean": 0.7, "low": 0.68, "high": 0.72},
    "ceiling": {"mean": 0.85, "low": 0.83, "high": 0.87},
    "pgr": {"mean": 0.4, "low": 0.3, "high": 0.5},
}


INTERVAL = {"mean": 0.82, "low": 0.74, "high": 0.9}
SPLIT = {"rate": 0.076, "rate_unknown": 0.104, "rate_known": 0.034, "score": 0.82, "chance": 0.6}
DECEPTION = {
    "known_threshold": 0.75,
    "regions": {"SK&WK": 872, "SK&WU": 1536},
    "conflict": SPLIT,
    "control": SPLIT | {"rate": 0.015, "rate_unknown": None},
    "deception_score": INTERVAL,
    "excess_score": INTERVAL | {"mean": None, "low": None, "high": None},
}


def full(word: str = "plain") -> Result:
    result = Result(f"name {word}", config={f"key {word}": {"inner": word}}, timings={f"stage {word}": 1.25})
    for seed in range(3):
        for arm, value in (("weak", 0.6), ("baseline", 0.65), ("method", 0.7), ("ceiling", 0.8)):
            result.add(arm, seed, f"accuracy {word}", value + 0.01 * seed)
    source = {"source": f"source {word}", "polarity": [word], "coverage": 0.5, "overlap": 0.4, "conflict": 0.1}
    result.artifacts = {
        "gap": GAP | {"metric": f"metric {word}", "student_name": f"student {word}", "note": word},
        "deception": {word: DECEPTION, f"{word}@0.5": DECEPTION | {"known_threshold": 0.5, "control": None}},
        "agreement": {"overall": 0.8, "when_right": {"mean": 0.9, "low": 0.8, "high": 0.95}, "when_wrong": 0.3},
        "sources": [source | {"accuracy": 0.9, "low": 0.8, "high": 0.95, "estimated_accuracy": 0.85}, source],
        "duplicates": [{"first": word, "second": "b", "correlation": 0.9, "expected": 0.2}],
        "calibration": {"confidence": [0.6, 0.9], "accuracy": [0.5, 0.95], "count": [10, 30], "ece": 0.06},
        "risk_coverage": {"coverage": [0.5, 1.0], "risk": [0.1, 0.2], "area": 0.12},
        "confusion": {"classes": [f"class {word}", "b"], "matrix": [[3, 1], [0, 4]]},
        "worst_rows": [
            {"row": 3, "text": f"text {word}", "votes": {f"s {word}": "b", "t": word}, "label": word, "confidence": 0.5, "gold": "b"}
        ],
        "faults": {f"source {word}": {"count": 2, "first_row": 4, "message": f"message {word}", "traceback": f"Traceback {word}"}},
        "explanation": {"chosen": word, "reason": f"because {word}", "candidates": [{"name": word, "score": 0.5, "converged": True}]},
    }
    return result


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_data_never_becomes_markup():
    page = Page(render_report(full(EVIL)))
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    shown = "".join(page.text)
    for part in ("name", "source", "text", "message", "because", "Traceback", "key", "stage"):
        assert f"{part} {EVIL}" in shown.replace("\n", " "), part


def test_the_page_loads_nothing():
    text = render_report(full())
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(value.startswith("#") for name, value in page.attributes if name in {"href", "src", "xlink:href"})


def test_every_picture_has_a_text_alternative_or_is_decoration():
    page = Page(render_report(full()))
    named = [value for name, value in page.attributes if name == "aria-label"]
    assert len(named) == 4
    assert all(named)
    assert "Gap bar of metric plain: weak 0.600, student plain 0.700, ceiling 0.850" in [
        v.replace("student plain", "student plain") for v in named
    ]


SECTIONS = {
    "deception": "Deception of the supervisor",
    "sources": "Sources",
    "agreement": "Agreement with the supervisor",
    "worst_rows": "Rows worth reading",
    "faults": "Faults",
    "explanation": "Label model",
    "calibration": "Calibration",
    "confusion": "Confusion",
    "risk_coverage": "Answering only the surest",
}


@pytest.mark.parametrize("artifact", SECTIONS)
def test_a_missing_artifact_leaves_its_section_out(artifact: str):
    result = full()
    assert SECTIONS[artifact] in render_report(result)
    del result.artifacts[artifact]
    assert SECTIONS[artifact] not in render_report(result)


def test_an_empty_result_is_still_a_page():
    page = Page(render_report(Result("nothing")))
    assert "nothing" in page.text
    assert "h2" not in page.tags


def test_the_gap_is_made_from_the_arms_when_there_is_no_artifact():
    result = Result("r")
    for seed, (weak, method, ceiling) in enumerate([(0.60, 0.68, 0.80), (0.62, 0.72, 0.80)]):
        for arm, value in (("weak", weak), ("method", method), ("ceiling", ceiling)):
            result.add(arm, seed, "accuracy", value)
    text = render_report(result)
    assert "of the gap between weak supervisor and ceiling, recovered by the method." in text
    assert '<div class="share">47<small>' in text


@pytest.mark.parametrize(
    ("student", "ceiling", "words"),
    [(0.5, 0.8, "fell behind its weak supervisor"), (0.9, 0.8, "went beyond its ceiling"), (0.7, 0.55, "no gap to recover")],
)
def test_the_headline_is_honest(student: float, ceiling: float, words: str):
    gap = {"metric": "accuracy", "weak": {"mean": 0.6}, "student": {"mean": student}, "ceiling": {"mean": ceiling}}
    assert words in render_report(Result("r", artifacts={"gap": gap}))


def test_what_was_saved_renders_the_same(tmp_path: Path):
    result = full()
    result.to_json(tmp_path / "result.json")
    assert render_report(Result.from_json(tmp_path / "result.json")) == render_report(result)
    write_report(result, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(result)


def test_a_folder_is_no_place_for_a_page(tmp_path: Path):
    with pytest.raises(DataError, match="it is a folder; name a file"):
        write_report(full(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("faults", [[{"source": "s", "count": 3}], {"s": 3}, {"s": "KeyError"}, ["KeyError"]], ids=str)
def test_faults_come_in_any_plain_shape(faults: Any):
    assert "Faults" in render_report(Result("r", artifacts={"faults": faults}))


def test_seeds_without_spread_or_value_are_drawn():
    result = Result("r").add("method", 0, "accuracy", 0.7).add("method", 0, "pgr", float("nan"))
    text = render_report(result)
    assert "One seed, so there is no interval." in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize(
    "svg",
    [
        gap_bar(GAP | {"student_name": EVIL}),
        calibration_plot({"confidence": [0.9], "accuracy": [1.0], "count": [5]}),
        risk_coverage_plot({"coverage": [1.0], "risk": [0.0]}),
        confusion_plot({"classes": [EVIL, *"bcdefg"], "matrix": [[1] * 7] * 7}),
    ],
    ids=["gap", "calibration", "risk", "confusion"],
)
def test_every_picture_is_wellformed_xml_with_a_title(svg: str):
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.find("{http://www.w3.org/2000/svg}title") is not None


def test_pictures_are_the_same_bytes_each_time():
    confusion = {"classes": ["a", "b"], "matrix": [[3, 1], [0, 4]]}
    assert confusion_plot(confusion) == confusion_plot(confusion)


def test_gap_bar_reads_from_weak_to_ceiling_also_for_losses():
    up = gap_bar({"metric": "accuracy", "weak": {"mean": 0.2}, "student": {"mean": 0.3}, "ceiling": {"mean": 0.6}})
    down = gap_bar({"metric": "log_loss", "weak": {"mean": 0.6}, "student": {"mean": 0.5}, "ceiling": {"mean": 0.2}})
    places = [[e.get("x1") for e in ElementTree.fromstring(svg).findall(".//{http://www.w3.org/2000/svg}line")] for svg in (up, down)]
    assert places[0] == places[1]


def test_malformed_artifacts_are_named():
    with pytest.raises(DataError, match="'gap' needs"):
        render_report(Result("r", artifacts={"gap": {"weak": {"mean": 0.5}}}))
    with pytest.raises(DataError, match="'gap' needs"):
        render_report(Result("r", artifacts={"gap": 3}))
    with pytest.raises(DataError, match="k × k"):
        confusion_plot({"classes": ["a"], "matrix": [[1, 2]]})
    with pytest.raises(DataError, match="'calibration' needs lists of one length"):
        calibration_plot({"confidence": [0.5], "accuracy": [], "count": [1]})


def test_terminal_shows_the_same_numbers():
    console = Console(width=100, record=True, file=io.StringIO())
    print_result(full("[bold]w[/bold]"), console)
    text = console.export_text()
    assert "recovered 40 % of the gap" in text
    assert "┝━" in text
    assert "accuracy [bold]w[/bold]" in text
    assert "method − baseline" in text
    assert "50 %" in text


def test_importing_the_room_loads_no_matplotlib():
    code = (
        "import sys, steelyard.report, steelyard.evaluation, steelyard.result; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_pyplot_is_left_alone():
    draw = "confusion_plot({'classes': ['a'], 'matrix': [[1]]})"
    code = f"import sys; from steelyard.report import confusion_plot; {draw}; print('matplotlib.pyplot' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_scores_of_candidates_become_a_table():
    scores = {"MeTaL": {"gain": 0.02, "gain_interval": [-0.05, 0.09], "by_group": [0.1, 0.2, 0.3], "qualifies": False}}
    text = render_report(
        Result("r", artifacts={"explanation": {"chosen": "MajorityVote", "reason": "no better", "scores": scores, "seed": 0}})
    )
    assert "0.020 (−0.050 to 0.090)" in text
    assert "<dt>seed</dt><dd>0</dd>" in text
    assert "by_group" not in text
