"""Reading a label out of what a language model wrote: a word in a sentence, or a field of a JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any


def mentioned(text: str, words: Sequence[str], *, last: bool = False) -> str | None:
    """Return the one of `words` that `text` mentions first (or last), or None.

    Only whole words count, in any case, with `_`, `-` and spaces alike; where several begin at one place the longest wins.

    Examples
    --------
    >>> mentioned("It is **not spam**, I am sure.", ["spam", "not_spam"])
    'not_spam'
    >>> mentioned("spammers", ["spam", "not_spam"]) is None
    True
    """
    alternatives = "|".join(_spelling(word) for word in sorted(words, key=len, reverse=True))
    hits = re.findall(rf"(?<!\w)(?:{alternatives})(?!\w)", text, flags=re.IGNORECASE)
    by_spelling = {_plain(word): word for word in words}
    return by_spelling.get(_plain(hits[-1 if last else 0])) if hits else None


def label_in_json(text: str) -> tuple[str, float] | str | None:
    """Return the label, with its confidence where one is given, of the first JSON object in `text`.

    The label is the field `label`, `answer`, `class` or `category`, or the only field. Chatter and code fences around it do no harm.

    Examples
    --------
    >>> label_in_json('Sure: {"label": "SPAM", "confidence": 0.75}')
    ('SPAM', 0.75)
    """
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        return _label_of(found)
    return None


def _label_of(found: dict[str, Any]) -> tuple[str, float] | str | None:
    label = next((found[key] for key in ("label", "answer", "class", "category") if key in found), None)
    if label is None and len(found) == 1:
        label = next(iter(found.values()))
    if label is None:
        return None
    confidence = found.get("confidence")
    return (str(label), float(confidence)) if isinstance(confidence, int | float) else str(label)


def _plain(word: str) -> str:
    return re.sub(r"[_\s-]+", " ", word).casefold().strip()


def _spelling(word: str) -> str:
    return r"[_\s-]+".join(re.escape(part) for part in re.split(r"[_\s-]+", word.strip()) if part)
