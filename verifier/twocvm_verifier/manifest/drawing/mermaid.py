"""A picture as a mermaid flowchart, for pages that draw those.

Mermaid has no grammar that keeps text apart from what it does: it looks for directives and HTML everywhere, and reads
Markdown in labels. So a label holds letters, digits, spaces and few signs as they are, and everything else as the
number of the character, which is put in its place only when the drawing is made.

>>> escaped('end"] click <b>')
'end#34;#93; click #60;b#62;'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from .picture import ArrowKind, Box, BoxKind, Picture, Row

_PLAIN: Final = re.compile(r"[A-Za-z0-9 ,:-]", re.ASCII)
_ARROW: Final = MappingProxyType(
    {
        ArrowKind.GIVES: "-->",
        ArrowKind.FILE: "-->",
        ArrowKind.WINDOW: "==>",
        ArrowKind.CALL: "<-.->",
        ArrowKind.GETS: "-->",
    }
)
_PEOPLE: Final = frozenset({BoxKind.GIVER, BoxKind.RECIPIENT})


def mermaid(picture: Picture) -> str:
    """Return a picture as mermaid's text; every line is ours but for labels."""
    lines = ["flowchart LR"]
    lines.append(f"  %% {picture.title}, manifest {picture.hash}")
    lines += [f'  w{index}["{escaped(warning)}"]' for index, warning in enumerate(picture.warnings)]
    for box in picture.boxes:
        lines += _box(box)
    for arrow in picture.arrows:
        label = f'|"{escaped(arrow.label)}"|' if arrow.label else ""
        lines.append(f"  {arrow.source} {_ARROW[arrow.kind]}{label} {arrow.target}")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return a text as a label holds it."""
    return "".join(character if _PLAIN.match(character) else f"#{ord(character)};" for character in text)


def _box(box: Box) -> Iterator[str]:
    if not box.heading:
        yield f"  {_row(box.rows[0], people=box.kind in _PEOPLE)}"
        return
    yield f'  subgraph {box.id}["{escaped(box.heading)}"]'
    for row in box.rows:
        yield f"    {_row(row, people=False)}"
    if box.kind is BoxKind.FILTERS:
        for before, after in pairwise(box.rows):
            yield f"    {before.id} --> {after.id}"
    yield "  end"


def _row(row: Row, *, people: bool) -> str:
    label = "<br/>".join(escaped(text) for text in (row.title, *row.notes))
    return f'{row.id}(["{label}"])' if people else f'{row.id}["{label}"]'
