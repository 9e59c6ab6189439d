from __future__ import annotations

from pathlib import Path

from steelyard.jobs.sources_file import load_sources


def test_sources_without_a_name_are_called_by_their_variable(tmp_path: Path) -> None:
    file = tmp_path / "rules.py"
    file.write_text(
        "import steelyard as sy\n"
        "asks = sy.keywords(['subscribe'], label='SPAM')\n"
        "link = sy.regex('https?://', label='SPAM', name='has_link')\n"
    )
    assert [source.name for source in load_sources(file).sources] == ["asks", "has_link"]
