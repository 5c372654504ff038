"""Results as a piece of a page, for notebooks. All of its text may come from strangers, and none of it is ever markup.

A card is a title and rows of a name and a text. Whatever is given is escaped, and characters that cannot be seen, or
that turn a line round, are written out. There is no script, no style sheet, no link and nothing that is fetched; the
few styles stand at their elements and take the page's own colours, so that a card is read in the dark as well.

>>> "<b>" in card("<b>", [("purpose", "<script>")])
False
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

_CARD: Final = "border:1px solid currentColor;border-radius:4px;padding:.5em .8em;margin:.3em 0;max-width:70em"
# Written out, because a page in quirks mode does not hand its own down to a table.
_TABLE: Final = "color:inherit;font:inherit;border-collapse:collapse"
_NAME: Final = "text-align:left;vertical-align:top;padding:.1em 1em .1em 0;font-weight:600;white-space:nowrap"
_TEXT: Final = "text-align:left;vertical-align:top;padding:.1em 0;overflow-wrap:anywhere;white-space:pre-wrap"


def card(title: str, rows: Iterable[tuple[str, str]], *, folded: Iterable[tuple[str, str]] = ()) -> str:
    """Return HTML of one card.

    Args:
        title: What it is, and how it ended.
        rows: Names and texts.
        folded: Further ones that a reader has to unfold.
    """
    more = _table(folded)
    details = f"<details><summary>in full</summary>{more}</details>" if more else ""
    return f'<div style="{_CARD}"><strong>{escape(title)}</strong>{_table(rows)}{details}</div>'


def escape(text: str) -> str:
    """Return text as it may stand in HTML: only characters that can be seen, and none of them markup."""
    return html.escape(visible(text), quote=True)


def visible(text: str) -> str:
    """Return text in which every character that cannot be seen is written out, as Python would."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(
        f'<tr><th scope="row" style="{_NAME}">{escape(name)}</th><td style="{_TEXT}">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return f'<table style="{_TABLE}">{lines}</table>' if lines else ""
