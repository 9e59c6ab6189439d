"""The report's colours, named once by what they mean. Light and dark share the names, so a picture drawn once is right in both."""

from __future__ import annotations

import html
import re

LIGHT = {
    "paper": "#fbfaf7",
    "ink": "#1c2126",
    "quiet": "#5c656e",
    "faint": "#8b939a",
    "rule": "#dedbd3",
    "track": "#ebe8e1",
    "weak": "#a8741a",
    "student": "#0f6b62",
    "ceiling": "#44516a",
    "wrong": "#b5402c",
}
DARK = {
    "paper": "#15181b",
    "ink": "#e9e7e2",
    "quiet": "#a5adb4",
    "faint": "#7b848c",
    "rule": "#2f353a",
    "track": "#262b30",
    "weak": "#dba84f",
    "student": "#4fbcad",
    "ceiling": "#a2b3cc",
    "wrong": "#ea7961",
}


def css(name: str) -> str:
    """Return a colour as CSS that follows the page's theme and stands alone outside of it.

    Examples
    --------
    >>> css("ink")
    'var(--ink, #1c2126)'
    """
    return f"var(--{name}, {LIGHT[name]})"


def themed(svg: str) -> str:
    """Replace the light colours of a finished picture by their themed form."""
    names = {value: name for name, value in LIGHT.items()}
    return re.sub("|".join(names), lambda found: css(names[found.group()]), svg)


def escape(text: str) -> str:
    """Make text safe inside SVG and its attributes.

    Examples
    --------
    >>> escape("<b>")
    '&lt;b&gt;'
    """
    return html.escape(text, quote=True)
