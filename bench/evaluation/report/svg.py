"""Plots as SVG, written out: lines with their errors, and bars in groups.

Colours are the page's custom properties, so that one drawing serves light and dark. Each series has a shape or a dash
of its own too, and every point says its numbers when it is pointed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from bench.evaluation.chapter import Bar, Bars, Line, Plot

from .scale import Axis

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 28, 12, 46
COLOURS: Final = 6
_LEGEND_ROW: Final = 18
_PER_ROW: Final = 2
_LETTER: Final = 6.5


def plot(it: Plot) -> str:
    """Return the drawing of lines."""
    points = [point for line in it.lines for point in line.points]
    x_axis = Axis.over([point.x for point in points], log=it.x_log)
    heights = [point.y + point.deviation for point in points] + [point.y for point in points]
    y_axis = Axis.over(heights, log=it.y_log, from_zero=True)
    parts = [*_frame(y_axis, it.y_label), *_x_marks(x_axis, it.x_label)]
    for number, line in enumerate(it.lines):
        parts += _line(line, number, x_axis, y_axis)
    return _drawing(it.caption, parts, [line.name for line in it.lines])


def bars(it: Bars) -> str:
    """Return the drawing of groups of bars."""
    tops = [bar.height + bar.deviation for _, row in it.series for bar in row if bar]
    y_axis = Axis.over([*tops, it.level], from_zero=True)
    parts = list(_frame(y_axis, it.y_label))
    group_width = (WIDTH - LEFT - RIGHT) / max(1, len(it.groups))
    bar_width = group_width * 0.8 / max(1, len(it.series))
    # Names that are as wide as their groups stand on two lines in turn.
    crowded = any(len(group) * _LETTER > group_width for group in it.groups)
    for index, group in enumerate(it.groups):
        start = LEFT + group_width * index
        lower = _LEGEND_ROW * (index % 2) if crowded else 0
        parts.append(_label(start + group_width / 2, HEIGHT - BOTTOM + 16 + lower, group))
        for number, (name, row) in enumerate(it.series):
            if bar := row[index]:
                at = start + group_width * 0.1 + bar_width * number
                parts += _bar(bar, f"{group}, {name}", number, at, bar_width, y_axis)
    if it.level:
        parts.append(_level(it.level, y_axis))
    return _drawing(it.caption, parts, [name for name, _ in it.series])


def _drawing(caption: str, parts: Sequence[str], names: Sequence[str]) -> str:
    rows = (len(names) + _PER_ROW - 1) // _PER_ROW
    height = HEIGHT + rows * _LEGEND_ROW
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(caption)}">'
        f"{''.join(parts)}{''.join(_legend(names))}</svg>"
    )


def _frame(y_axis: Axis, label: str) -> Iterator[str]:
    for mark in y_axis.marks():
        at = _y(mark.share)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="mark end" x="{LEFT - 6}" y="{at + 4:.1f}">{escape(mark.text)}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text class="mark mid" transform="translate(14 {middle:.1f}) rotate(-90)">{escape(label)}</text>'


def _x_marks(axis: Axis, label: str) -> Iterator[str]:
    for mark in axis.marks():
        yield _label(_x(mark.share), HEIGHT - BOTTOM + 16, mark.text)
    yield _label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, label)


def _label(x: float, y: float, text: str) -> str:
    return f'<text class="mark mid" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _line(line: Line, number: int, x_axis: Axis, y_axis: Axis) -> Iterator[str]:
    colour = f"c{number % COLOURS}"
    places = [(_x(x_axis.share(each.x)), _y(y_axis.share(each.y))) for each in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashed = " dashed" if line.dashed else ""
    yield f'<polyline class="line {colour}{dashed}" points="{path}"/>'
    for point, (x, y) in zip(line.points, places, strict=True):
        if point.deviation:
            yield _error(x, point.y, point.deviation, y_axis, colour)
        error = f" ± {point.deviation:.3g}" if point.deviation else ""
        told = f"{line.name}: {point.y:.4g}{error} at {point.x:g}"
        yield f"<g>{_shape(number, x, y, colour)}<title>{escape(told)}</title></g>"


def _error(x: float, y: float, deviation: float, axis: Axis, colour: str) -> str:
    # Below the axis there is nothing, and on a logarithmic one not even that.
    low = max(y - deviation, axis.least)
    top, bottom = _y(axis.share(y + deviation)), _y(axis.share(low))
    return f'<line class="error {colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def _bar(bar: Bar, told: str, number: int, x: float, width: float, axis: Axis) -> Iterator[str]:
    top, bottom, colour = _y(axis.share(bar.height)), _y(0), f"c{number % COLOURS}"
    title = f"{told}: {bar.height:.3g}"
    yield (
        f'<rect class="bar {colour}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}">'
        f"<title>{escape(title)}</title></rect>"
    )
    if bar.deviation:
        yield _error(x + width / 2, bar.height, bar.deviation, axis, "ink")


def _level(number: float, axis: Axis) -> str:
    at = _y(axis.share(number))
    return f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    width = (WIDTH - LEFT) / _PER_ROW
    for number, name in enumerate(names):
        x, y = LEFT + width * (number % _PER_ROW), HEIGHT + _LEGEND_ROW * (number // _PER_ROW) + 8
        yield _shape(number, x + 5, y - 4, f"c{number % COLOURS}")
        yield f'<text class="mark" x="{x + 15:.1f}" y="{y}">{escape(name)}</text>'


def _shape(number: int, x: float, y: float, colour: str) -> str:
    match number % 4:
        case 0:
            return f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        case 1:
            return f'<rect class="dot {colour}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
        case 2:
            corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}"
        case _:
            corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
    return f'<polygon class="dot {colour}" points="{corners}"/>'


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
