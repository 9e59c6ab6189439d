"""The runner of the examples must notice what is wrong with a page."""

from pathlib import Path

import pytest
from sybil.example import SybilFailure

from docs.examples import evaluated, rewrite


def run(folder: Path, text: str) -> int:
    """Number of blocks that ran."""
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return len(list(evaluated(page)))


def test_blocks_share_names_and_their_output_is_compared(tmp_path: Path) -> None:
    assert run(tmp_path, "```python\nx = 2\n```\n\n```python\nprint(x, 'and more')\n```\n\n```text\n2\nand ...\n```\n") == 2


def test_wrong_output_fails(tmp_path: Path) -> None:
    with pytest.raises(SybilFailure, match="Printed"):
        run(tmp_path, "```python\nprint(1)\n```\n\n```text\n2\n```\n")


def test_an_error_is_compared_where_it_is_shown_and_raised_where_it_is_not(tmp_path: Path) -> None:
    failing = "```python\nfrom steelyard.errors import DataError\n\nraise DataError('no file; give one')\n```\n"
    assert run(tmp_path, failing + "\n```text\nsteelyard.errors.DataError: no file; give one\n```\n") == 1
    with pytest.raises(SybilFailure):
        run(tmp_path, failing + "\n```text\nsteelyard.errors.DataError: another\n```\n")
    with pytest.raises(ValueError, match="no file"):
        run(tmp_path, failing)


def test_prompts_are_checked_too(tmp_path: Path) -> None:
    assert run(tmp_path, "```python\n>>> y = 3\n>>> y\n3\n\n```\n\n```python\nprint(y)\n```\n\n```text\n3\n```\n") == 2
    with pytest.raises(SybilFailure):
        run(tmp_path, "```python\n>>> 1 + 1\n3\n\n```\n")


def test_titled_blocks_become_files_of_the_page(tmp_path: Path) -> None:
    text = '```csv title="a.csv"\nx\n```\n\n```python\nprint(open("a.csv").read())\n```\n\n```text\nx\n```\n'
    assert run(tmp_path, text) == 2
    assert not Path("a.csv").exists()


def test_commands_run_and_their_failure_is_noticed(tmp_path: Path) -> None:
    assert run(tmp_path, "```console\n$ steelyard recipes nothing\nsteelyard: no recipe named 'nothing'; ...\n```\n") == 1
    with pytest.raises(SybilFailure, match="exit code 1"):
        run(tmp_path, "```console\n$ steelyard recipes nothing\n```\n")
    assert run(tmp_path, "```console\n$ pip install steelyard\n```\n") == 0


def test_output_that_varies_is_not_compared_but_must_still_run(tmp_path: Path) -> None:
    assert run(tmp_path, "```python\nprint(1)\n```\n\n<!-- output varies: example -->\n```text\n2\n```\n") == 1
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, "```python\n1 / 0\n```\n\n<!-- not a mark -->\n```text\n2\n```\n")


def test_rewriting_puts_in_what_is_printed_and_is_idempotent(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('one')\n```\n\n```text\n```\n", encoding="utf-8")
    assert rewrite(page)
    assert page.read_text(encoding="utf-8").endswith("```text\none\n```\n")
    assert not rewrite(page)
