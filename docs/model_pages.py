"""A page per label model: its docstring, its picture, what docs/label-models.md says of it, and its figures in the accuracy table."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from docs.pictures import PICTURES, draw
from steelyard.report.palette import css

# What steelyard.label_models exports and is no model: data, base classes, functions around models.
NO_MODELS = {
    "Answers",
    "Comparisons",
    "LabelIssues",
    "LabelModel",
    "learn_dependencies",
    "multi_label_votes",
    "select",
    "summarize",
    "VerifierEnsemble",
    "EuclideanMetric",
    "GraphMetric",
    "LabelMetric",
    "MatrixMetric",
    "PartedMetric",
}
# Who votes in which set; the legal tasks are one set, their mean. Every set of the accuracy table has its kind.
KINDS = {
    "keyword rules": ("youtube", "sms", "trec", "yoruba", "hausa", "census", "chemprot", "spouse"),
    "crowd": ("bluebirds",),
    "crowd judged by its own vote": ("hate_speech",),
    "language models": ("legal", "judgebench"),
}
METRICS = {
    "accuracy": "accuracy %",
    "macro_f1": "macro-F1 %",
    "covered_accuracy": "accuracy on covered rows %",
    "ece": "calibration error %",
    "log_loss": "log-loss",
    "seconds": "seconds",
}
Figures = dict[str, dict[str, dict[str, float]]]
Sections = dict[str, str]


def model_names() -> list[str]:
    """Everything exported that is a model, in alphabetical order."""
    from steelyard import label_models

    return sorted(set(label_models.__all__) - NO_MODELS, key=str.lower)


def model_pages(folder: Path, guide: str, stored: Path) -> dict[Path, str]:
    """Page and picture of every model; `guide` has the tables of what models believe, `stored` the measured accuracies."""
    beliefs, figures, names = model_table(guide), read_figures(stored), model_names()
    written = {folder / f"{name}.md": model_page(name, names, beliefs.get(name, {}), figures) for name in names}
    return written | {folder / f"{name}.svg": draw(PICTURES[name]) for name in names if name in PICTURES}


def model_page(name: str, names: list[str], belief: Sections, figures: Figures) -> str:
    """One page, from the most useful to the least."""
    from steelyard import label_models

    model = getattr(label_models, name)
    idea, source = _module_parts(name, model)
    sections = docstring_sections(inspect.getdoc(model) or "")
    link = _linker(name, names)
    parts = [f"# {name}", f"`from steelyard.label_models import {name}`", *idea]
    if name in PICTURES:
        about = "Round: unknown. Filled: seen. Square: given. A frame repeats what is inside."
        about += " Red: particular to this model." if css("wrong") in draw(PICTURES[name]) else ""
        parts += [f'![what {name} takes the world to be]({name}.svg){{ style="background: #fff; padding: .4em" }}', about]
    if belief:
        said = {"It assumes": "believes", "It learns from": "learns from", "It fails, or gains nothing": "when it fails"}
        parts += ["## What it assumes, and when it fails"]
        parts.append("\n".join(f"- **{title}:** {link(belief[key])}." for title, key in said.items() if belief.get(key)))
    parts += ["## How it works", link(paragraphs(sections[""]))]
    for title in ("Parameters", "Attributes"):
        if title in sections:
            parts += [f"## {title}", link(_entries(sections[title], model if title == "Parameters" else None))]
    found = _result_of(model)
    if found:
        parts += [f"## {found.__name__}", link(_entries(docstring_sections(inspect.getdoc(found) or "")["Attributes"]))]
    parts += _methods(model)
    if "Raises" in sections:
        entries = re.findall(r"^(\w+)\n((?:    [^\n]*\n?)+)", sections["Raises"], re.MULTILINE)
        parts += ["## Raises", *(f"`{error}`: {_escaped(' '.join(when.split()))}" for error, when in entries)]
    if "Notes" in sections:
        parts += ["## Notes", link(paragraphs(sections["Notes"]))]
    if "Examples" in sections:
        # Not a `python` block: the example is run where it stands, in the docstring.
        parts += ["## Example", f"```pycon\n{complete_example(name, sections['Examples'])}\n```"]
    parts += _measured(name, figures)
    if source:
        parts += ["## Source", *source]
    return "\n\n".join(parts) + "\n"


# The docstring


def docstring_sections(text: str) -> Sections:
    """The sections of a NumPy docstring by title; what stands above them has the title ""."""
    pieces = re.split(r"^(\w+)\n-{3,}\n", text, flags=re.MULTILINE)
    return {"": pieces[0].strip()} | {title: body.strip("\n") for title, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def paragraphs(text: str) -> str:
    """Prose as Markdown. A line that ends although the next word had room ends on purpose, as equations do."""
    lines = text.splitlines()
    shown = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        on_purpose = line and following and len(line) + len(following.split()[0]) < 118 and not following.startswith((" ", "- "))
        shown.append(_escaped(line) + ("<br>" if on_purpose else ""))
    return "\n".join(shown)


def _escaped(text: str) -> str:
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    return text if text.startswith("    ") else re.sub(r"(?<!`)<(?=[\w/])", "&lt;", text)


def _entries(section: str, model: Any = None) -> str:
    """A table of "name : type" entries, with the defaults of the model's signature."""
    signature = inspect.signature(model).parameters if model else {}
    defaults = {key: parameter.default for key, parameter in signature.items() if parameter.default is not parameter.empty}
    rows = []
    for head, body in re.findall(r"^(\S[^\n]*)\n?((?:[ ]{4}[^\n]*\n?|\n(?=[ ]{4}))*)", section, re.MULTILINE):
        given, _, kind = head.partition(" : ")
        keys = [key.strip() for key in given.split(",")]
        chosen = [getattr(defaults[key], "__qualname__", repr(defaults[key])) for key in keys if key in defaults]
        cells = [", ".join(f"`{key}`" for key in keys), _escaped(kind)]
        cells += [", ".join(f"`{value}`" for value in chosen)] if model else []
        rows.append([*cells, " ".join(_escaped(body).split())])
    return _table(["name", "type", *(["default"] if model else []), "meaning"], rows)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _linker(own: str, names: list[str], folder: str = "") -> Callable[[str], str]:
    """A function that turns `Model` in code letters into a link to its page, except its own."""
    others = "|".join(name for name in names if name != own)

    def link(text: str) -> str:
        return re.sub(rf"(?<!\[)`({others})`", rf"[`\1`]({folder}\1.md)", text)

    return link


def _module_parts(name: str, model: Any) -> tuple[list[str], list[str]]:
    """The idea, if the module's docstring tells it of this name, and the source."""
    first, *rest = [" ".join(part.split()) for part in (inspect.getdoc(inspect.getmodule(model)) or "").split("\n\n")]
    idea = [first.removeprefix(f"{name}: ")] if first.startswith(f"{name}:") else []
    return [_escaped(text[0].upper() + text[1:]) for text in idea], [_escaped(part) for part in rest]


def _result_of(model: Any) -> Any:
    """The class that a function returns, where it is one of ours."""
    from steelyard import label_models

    returned = inspect.signature(model).return_annotation if inspect.isfunction(model) else None
    return getattr(label_models, returned) if returned in label_models.__all__ else None


def _methods(model: Any) -> list[str]:
    """How a model is used that does not share the interface of the label models."""
    from steelyard.label_models import LabelModel

    if not inspect.isclass(model):
        return []
    shared = set(dir(LabelModel)) if issubclass(model, LabelModel) else set(dir(object))
    rows = []
    for key, member in inspect.getmembers(model, inspect.isfunction):
        if not key.startswith("_") and key not in shared and member.__module__.startswith("steelyard.label_models"):
            signature = ", ".join(map(_argument, list(inspect.signature(member).parameters.values())[1:]))
            rows.append([f"`{key}({signature})`", _escaped((inspect.getdoc(member) or "").split("\n\n")[0].replace("\n", " "))])
    shared_too = "It has the [interface of all label models](../label-models.md)." if issubclass(model, LabelModel) else ""
    return ["## Methods", *([shared_too] if shared_too else []), *([_table(["method", "what it does"], rows)] if rows else [])]


def _argument(parameter: inspect.Parameter) -> str:
    return parameter.name if parameter.default is parameter.empty else f"{parameter.name}={parameter.default!r}"


def complete_example(name: str, example: str) -> str:
    """The example with the imports that its module has made already."""
    from steelyard import label_models

    missing = sorted(unknown_names(example) - {name})
    ours = [name] + [key for key in missing if key in label_models.__all__]
    known = {"np": "import numpy as np", "Votes": "from steelyard import Votes"}
    imports = [known[key] for key in missing if key in known]
    shown = "" if example.startswith(">>>") else "# " + " ".join(example.partition(">>>")[0].split()) + "\n"
    example = example[example.index(">>>") :]
    prompts = [
        f">>> {line}"
        for line in [*sorted(imports, key=lambda line: "numpy" not in line), f"from steelyard.label_models import {', '.join(ours)}"]
    ]
    return "\n".join(prompts) + "\n" + shown + example.strip()


def unknown_names(example: str) -> set[str]:
    """Names an example uses and neither imports nor assigns."""
    code = "\n".join(line[4:] for line in example.splitlines() if line.startswith((">>> ", "... ")))
    nodes = list(ast.walk(ast.parse(code)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    made = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    made |= {alias.asname or alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
    return used - made - set(dir(builtins))


# The guide's tables


def model_table(guide: str) -> dict[str, Sections]:
    """What docs/label-models.md says of each model: {name: {column: cell}} from its tables whose first column is "model"."""
    found: dict[str, Sections] = {}
    header: list[str] = []
    for line in guide.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")] if line.startswith("| ") else []
        if not cells:
            header = []
        elif not header:
            header = cells
        elif header[:2] == ["model", "believes"] and not set(line) <= set("|- "):
            row = dict(zip(header, cells, strict=True))
            found |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), row)
    return found


# The figures


def read_figures(stored: Path) -> Figures:
    """{model: {set: {metric: value}}} of steelyard's models, "legal" being the mean of its tasks."""
    if not stored.is_file():
        return {}
    ours = {*model_names(), "select"}
    collected: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in json.loads(stored.read_text(encoding="utf-8"))["every_row"]:
        if re.split(r"[(,]", row["model"])[0] in ours:
            of_set = collected.setdefault(row["model"], {}).setdefault(row["set"].partition("/")[0], {})
            for metric in METRICS:
                if row.get(metric) is not None:
                    of_set.setdefault(metric, []).append(row[metric])
    return {
        model: {name: {metric: fmean(values) for metric, values in of_set.items()} for name, of_set in sets.items()}
        for model, sets in collected.items()
    }


def _measured(name: str, figures: Figures) -> list[str]:
    """The model's lines of the accuracy table, beside the majority vote and the best."""
    parts = []
    for variant in (model for model in figures if re.split(r"[(,]", model)[0] == name):
        own = figures[variant]
        metrics = [metric for metric in METRICS if any(metric in of_set for of_set in own.values())]
        rows = []
        for data, of_set in own.items():
            others = {model: sets[data]["accuracy"] for model, sets in figures.items() if data in sets}
            best = max(others, key=lambda model: others[model])
            over = [f"{100 * (of_set['accuracy'] - others['MajorityVote']):+.1f}"] if "MajorityVote" in others else [""]
            cells = [shown(of_set[metric], metric) if metric in of_set else "" for metric in metrics]
            rows.append([data, cells[0], *over, f"{shown(others[best], 'accuracy')} ({best})", *cells[1:]])
        columns = ["set", METRICS["accuracy"], "over the vote", "best of all", *(METRICS[metric] for metric in metrics[1:])]
        parts += [f"`{variant}`:", _table(columns, rows)]
    if not parts:
        return []
    about = (
        "Without labels, as in [Benchmarks](../benchmarks.md#accuracy), which tells how each set was used and has the figures of other "
        "libraries; “over the vote” is in points of accuracy. legal: the mean of its tasks."
    )
    return ["## Accuracy on real votes", about, *parts]


def shown(value: float, metric: str) -> str:
    """Shares in percent, log-loss and seconds as they are."""
    return f"{value:.3g}" if metric in ("log_loss", "seconds") else f"{100 * value:.1f}"


def evidence(stored: Path) -> str:
    """Mean accuracy per kind of votes and model, and the best three of each kind."""
    figures, names = read_figures(stored), model_names()
    if not figures:
        return "No results are stored yet."
    link = _linker("", names, "models/")
    means = {(kind, model): mean for kind in KINDS for model in figures for mean in _mean(figures[model], KINDS[kind], "accuracy")}
    every_set = [name for sets in KINDS.values() for name in sets]
    overall = {model: mean for model in figures for mean in _mean(figures[model], every_set, "accuracy")}
    order = sorted(figures, key=lambda model: -overall.get(model, 0))
    cell = lambda mean: "" if mean is None else f"{100 * mean:.1f}"  # noqa: E731
    rows = [[link(f"`{model}`"), *(cell(means.get((kind, model))) for kind in KINDS), cell(overall.get(model))] for model in order]
    parts = [
        "Mean accuracy in percent over the sets of each kind, without labels:",
        _table(["model", *(f"{kind} ({len(KINDS[kind])})" for kind in KINDS), f"all sets ({len(every_set)})"], rows),
    ]
    lines = []
    for kind, sets in KINDS.items():
        best = sorted((model for model in figures if (kind, model) in means), key=lambda model: -means[kind, model])[:3]
        said = []
        for model in best:
            of_f1 = [f", macro-F1 {100 * mean:.1f}" for mean in _mean(figures[model], sets, "macro_f1")]
            said.append(link(f"`{model}`") + f" ({100 * means[kind, model]:.1f}{''.join(of_f1)})")
        lines.append(f"- **{kind[0].upper() + kind[1:]}** ({', '.join(sets)}): {', '.join(said)}.")
    return "\n\n".join([*parts, "The best three of each kind:", "\n".join(lines)])


def _mean(of_sets: dict[str, dict[str, float]], sets: Iterable[str], metric: str) -> Iterator[float]:
    """The mean over the sets, or nothing where one is missing."""
    values = [of_sets.get(name, {}).get(metric) for name in sets]
    found = [value for value in values if value is not None]
    if len(found) == len(values):
        yield fmean(found)
