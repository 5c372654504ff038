"""A picture as SVG: no script, no style sheet, no font, image or link from anywhere, dark text on light ground.

Every text is escaped for XML, and what XML cannot hold at all is replaced; text lies in a frame of its own, so that not
even stacked accents reach out of their box.

>>> escaped('<a href="javascript:x">')
'&lt;a href=&quot;javascript:x&quot;&gt;'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from .layout import CALL_ROOM, CELL, HEADING, LINE, PADDING, Layout, Rect, lay_out
from .picture import Arrow, ArrowKind, Box, BoxKind, Picture, Row, cells_of

_MARGIN: Final = 24.0
_FONT: Final = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_DARK: Final = "#1b1f24"
_DIM: Final = "#4b5563"
_FILL: Final = MappingProxyType(
    {
        BoxKind.GIVER: "#e8eefc",
        BoxKind.DATA: "#fdf6dd",
        BoxKind.NODE: "#e6f4ea",
        BoxKind.FILTERS: "#f3e8fd",
        BoxKind.OUTPUT: "#fdf6dd",
        BoxKind.RECIPIENT: "#e8eefc",
    }
)
_STROKE: Final = MappingProxyType(
    {
        ArrowKind.GIVES: 'stroke="#6b7280" stroke-width="1.2"',
        ArrowKind.FILE: 'stroke="#1b1f24" stroke-width="1.4"',
        ArrowKind.WINDOW: 'stroke="#1b1f24" stroke-width="3"',
        ArrowKind.CALL: 'stroke="#9a3412" stroke-width="1.4" stroke-dasharray="5 3"',
        ArrowKind.GETS: 'stroke="#6b7280" stroke-width="1.2"',
    }
)
_LEGEND: Final = ("thin: file", "thick: window", "dashed: call, both ways", "≤: the most bytes of one run")
# XML 1.0, production 2: everything but these characters.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def svg(picture: Picture) -> str:
    """Return a picture as an SVG document."""
    layout = lay_out(picture)
    notes = [picture.title, picture.purpose, f"manifest {picture.hash}", *picture.warnings]
    top = _MARGIN + LINE * (len(notes) + 1)
    longest = max(cells_of(line) for line in (*notes, " · ".join(_LEGEND)))
    width = 2 * _MARGIN + max(layout.width, CELL * longest)
    height = top + layout.height + 2 * _MARGIN + LINE
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{_FONT}" font-size="12">',
            f"<title>{escaped(picture.title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
            'markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{_DARK}"/></marker></defs>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *(
                _text(line, x=_MARGIN, y=_MARGIN + LINE * index, bold=index == 0, width=width)
                for index, line in enumerate(notes)
            ),
            f'<g transform="translate({_MARGIN:.0f} {top:.0f})">',
            *_drawn(picture, layout),
            "</g>",
            _text(" · ".join(_LEGEND), x=_MARGIN, y=height - _MARGIN - LINE, dim=True, width=width),
            "</svg>",
            "",
        )
    )


def escaped(text: str) -> str:
    """Return a text as it stands in XML, in elements and in attributes."""
    text = _NOT_XML.sub("\ufffd", text)
    for character, entity in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "apos")):
        text = text.replace(character, f"&{entity};")
    return text


def _drawn(picture: Picture, layout: Layout) -> Iterator[str]:
    for arrow, points in layout.paths:
        yield _line(arrow, points)
    for box in picture.boxes:
        yield from _box(box, layout)
    for arrow in picture.arrows:
        if arrow.kind is ArrowKind.CALL:
            yield _call(arrow, layout.rows[arrow.source], layout.rows[arrow.target])
    for arrow, points in layout.paths:
        if arrow.label:
            x, y = points[-2]
            yield _text(arrow.label, x=x + 2, y=y - LINE, dim=True, width=CELL * (cells_of(arrow.label) + 1))


def _line(arrow: Arrow, points: tuple[tuple[float, float], ...]) -> str:
    (x, y), *rest = points
    steps = [f"M{x:.1f} {y:.1f}"]
    for index, (to_x, to_y) in enumerate(rest):
        if index % 2 == 0:
            steps.append(f"L{to_x:.1f} {to_y:.1f}")
        else:
            middle = (x + to_x) / 2
            steps.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}")
        x, y = to_x, to_y
    return f'<path d="{" ".join(steps)}" fill="none" {_STROKE[arrow.kind]} marker-end="url(#tip)"/>'


def _call(arrow: Arrow, source: Rect, target: Rect) -> str:
    x = source.right - CALL_ROOM
    out = source.right + CALL_ROOM / 4
    start, end = source.y + source.height / 2, target.y + target.height / 2
    return (
        f'<path d="M{x:.1f} {start:.1f} C{out:.1f} {start:.1f} {out:.1f} {end:.1f} {x:.1f} {end:.1f}" fill="none" '
        f'{_STROKE[arrow.kind]} marker-start="url(#tip)" marker-end="url(#tip)"><title>{escaped(arrow.label)}</title>'
        "</path>"
    )


def _box(box: Box, layout: Layout) -> Iterator[str]:
    rect = layout.boxes[box.id]
    corner = 14 if box.kind in (BoxKind.GIVER, BoxKind.RECIPIENT) else 3
    yield (
        f'<rect x="{rect.x:.1f}" y="{rect.y:.1f}" width="{rect.width:.1f}" height="{rect.height:.1f}" rx="{corner}" '
        f'fill="{_FILL[box.kind]}" stroke="{_DARK}" stroke-width="1"/>'
    )
    if box.heading:
        yield _text(box.heading, x=rect.x + PADDING, y=rect.y + (HEADING - LINE) / 2, dim=True, width=rect.width)
    for index, row in enumerate(box.rows):
        place = layout.rows[row.id]
        if index or box.heading:
            yield f'<path d="M{place.x:.1f} {place.y:.1f} H{place.right:.1f}" stroke="{_DARK}" stroke-width="0.4"/>'
        yield from _row(row, place)


def _row(row: Row, place: Rect) -> Iterator[str]:
    y = place.y + (place.height - LINE * (1 + len(row.notes))) / 2
    width = place.width - PADDING
    yield _text(row.title, x=place.x + PADDING, y=y, bold=True, width=width)
    for index, note in enumerate(row.notes):
        yield _text(note, x=place.x + PADDING, y=y + LINE * (index + 1), dim=True, width=width)


def _text(text: str, *, x: float, y: float, width: float, bold: bool = False, dim: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<svg x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{LINE:.0f}" overflow="hidden">'
        f'<text x="0" y="{LINE * 0.75:.1f}" fill="{_DIM if dim else _DARK}"{weight}>{escaped(text)}</text></svg>'
    )
