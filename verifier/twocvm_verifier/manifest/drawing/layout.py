"""Where boxes and arrows go: layers from left to right, few crossings, and no arrow across a box.

An arrow that skips layers gets a place of its own in each of them, as if it were a thin box. Places of one layer are
put in the order of what they are joined to, then as near to its height as their order allows.

>>> spread([10.0, 10.0], [20.0, 20.0], gap=4.0)
[-12.0, 12.0]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .picture import Arrow, ArrowKind, Box, Picture, Row, cells_of

CELL: Final = 7.3
LINE: Final = 16.0
PADDING: Final = 10.0
HEADING: Final = 20.0
PORT_GAP: Final = 17.0
# Room beside the rows of a box in which its calls are drawn.
CALL_ROOM: Final = 34.0
_GAP: Final = 26.0
_LAYER_GAP: Final = 56.0
_THIN: Final = 4.0
_SWEEPS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rect:
    """A place, in pixels from the upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A picture laid out.

    Attributes:
        width: Of everything.
        height: Likewise.
        boxes: Where each box is, by its id.
        rows: Where each row is, by its id.
        paths: Each arrow, but calls, with the points that it goes through, in pairs: straight from the first of a pair
            to the second, in a curve to the next.
    """

    width: float
    height: float
    boxes: dict[str, Rect]
    rows: dict[str, Rect]
    paths: tuple[tuple[Arrow, tuple[tuple[float, float], ...]], ...]


@dataclass(slots=True, kw_only=True)
class _Place:
    """A box, or where an arrow passes a layer."""

    height: float
    before: list[_Place]
    after: list[_Place]
    position: float = 0.0
    y: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def lay_out(picture: Picture) -> Layout:
    """Return where everything goes."""
    return _Arranged(picture).layout()


class _Arranged:
    """The steps of a layout, each with what the ones before it found."""

    def __init__(self, picture: Picture) -> None:
        self._boxes = picture.boxes
        self._box_of = {row.id: box for box in picture.boxes for row in box.rows}
        self._arrows = [arrow for arrow in picture.arrows if arrow.kind is not ArrowKind.CALL]
        self._row_height = {row.id: _row_height(row, self._arrows) for box in picture.boxes for row in box.rows}
        self._place = {box.id: _Place(height=self._box_height(box), before=[], after=[]) for box in picture.boxes}
        self._layers: dict[int, list[_Place]] = defaultdict(list)
        for box in picture.boxes:
            self._layers[box.layer].append(self._place[box.id])
        self._passed = [self._route(arrow) for arrow in self._arrows]
        self._order()
        self._set_heights()

    def layout(self) -> Layout:
        """Return the result."""
        left, right, width = self._columns()
        boxes = {
            box.id: Rect(
                x=left[box.layer], y=self._place[box.id].y, width=_width(box), height=self._place[box.id].height
            )
            for box in self._boxes
        }
        rows = {row.id: rect for box in self._boxes for row, rect in self._rows_of(box, boxes[box.id])}
        height = max(place.y + place.height for places in self._layers.values() for place in places)
        return Layout(width=width, height=height, boxes=boxes, rows=rows, paths=self._paths(boxes, rows, left, right))

    def _box_height(self, box: Box) -> float:
        return _heading(box) + sum(self._row_height[row.id] for row in box.rows)

    def _route(self, arrow: Arrow) -> list[_Place]:
        """Join the arrow's ends, through a thin place in every layer between them."""
        source, target = self._box_of[arrow.source], self._box_of[arrow.target]
        passed = [_Place(height=_THIN, before=[], after=[]) for _ in range(source.layer + 1, target.layer)]
        for layer, place in enumerate(passed, start=source.layer + 1):
            self._layers[layer].append(place)
        stops = [self._place[source.id], *passed, self._place[target.id]]
        for before, after in pairwise(stops):
            before.after.append(after)
            after.before.append(before)
        return passed

    def _order(self) -> None:
        order = sorted(self._layers)
        for layer in order:
            _number(self._layers[layer])
        for sweep in range(_SWEEPS):
            forward = sweep % 2 == 0
            for layer in order if forward else reversed(order):
                places = self._layers[layer]
                places.sort(key=lambda place: _mean(place.before if forward else place.after, place.position))
                _number(places)

    def _set_heights(self) -> None:
        for sweep in range(_SWEEPS):
            for layer in sorted(self._layers, reverse=sweep % 2 == 1):
                places = self._layers[layer]
                wanted = [_middle(place.after if sweep % 2 else place.before, place) for place in places]
                heights = [place.height for place in places]
                for place, y in zip(places, spread(wanted, heights, gap=_GAP), strict=True):
                    place.y = y
        least = min(place.y for places in self._layers.values() for place in places)
        for places in self._layers.values():
            for place in places:
                place.y -= least

    def _columns(self) -> tuple[dict[int, float], dict[int, float], float]:
        """Return the left and the right edge of each layer, and the whole width."""
        left: dict[int, float] = {}
        right: dict[int, float] = {}
        x = 0.0
        for layer in range(max(self._layers, default=-1) + 1):
            labels = [arrow.label for arrow in self._arrows if self._box_of[arrow.target].layer == layer]
            if layer:
                x += _LAYER_GAP + CELL * max((cells_of(label) for label in labels), default=0)
            left[layer] = x
            x += max((_width(box) for box in self._boxes if box.layer == layer), default=0.0)
            right[layer] = x
        return left, right, x

    def _rows_of(self, box: Box, rect: Rect) -> Iterable[tuple[Row, Rect]]:
        y = rect.y + _heading(box)
        for row in box.rows:
            yield row, Rect(x=rect.x, y=y, width=rect.width, height=self._row_height[row.id])
            y += self._row_height[row.id]

    def _paths(
        self, boxes: dict[str, Rect], rows: dict[str, Rect], left: dict[int, float], right: dict[int, float]
    ) -> tuple[tuple[Arrow, tuple[tuple[float, float], ...]], ...]:
        starts = self._ports([arrow.source for arrow in self._arrows], rows, by=self._next_middle(boxes, forward=True))
        ends = self._ports([arrow.target for arrow in self._arrows], rows, by=self._next_middle(boxes, forward=False))
        paths = []
        for index, arrow in enumerate(self._arrows):
            layer = self._box_of[arrow.source].layer
            points = [(rows[arrow.source].right, starts[index]), (right[layer], starts[index])]
            for number, place in enumerate(self._passed[index], start=layer + 1):
                points += [(left[number], place.middle), (right[number], place.middle)]
            label = CELL * cells_of(arrow.label)
            end = rows[arrow.target].x
            paths.append((arrow, (*points, (end - label - 12.0, ends[index]), (end, ends[index]))))
        return tuple(paths)

    def _next_middle(self, boxes: dict[str, Rect], *, forward: bool) -> list[float]:
        """Return for each arrow how high it goes on, to order those that share an end."""
        middles = []
        for arrow, passed in zip(self._arrows, self._passed, strict=True):
            if passed:
                middles.append(passed[0 if forward else -1].middle)
            else:
                rect = boxes[self._box_of[arrow.target if forward else arrow.source].id]
                middles.append(rect.y + rect.height / 2)
        return middles

    @staticmethod
    def _ports(ends: Sequence[str], rows: dict[str, Rect], *, by: Sequence[float]) -> list[float]:
        """Return the height at which each arrow meets its row; those of one row lie apart."""
        sharing: dict[str, list[int]] = defaultdict(list)
        for index in sorted(range(len(ends)), key=lambda index: by[index]):
            sharing[ends[index]].append(index)
        heights = [0.0] * len(ends)
        for row, indexes in sharing.items():
            middle = rows[row].y + rows[row].height / 2
            for place, index in enumerate(indexes):
                heights[index] = middle + (place - (len(indexes) - 1) / 2) * PORT_GAP
        return heights


def spread(wanted: Sequence[float], heights: Sequence[float], *, gap: float) -> list[float]:
    """Return the upper edges of places in a column, in this order and apart, near to the middles that are wanted."""
    tops: list[float] = []
    floor = float("-inf")
    for middle, height in zip(wanted, heights, strict=True):
        tops.append(max(middle - height / 2, floor))
        floor = tops[-1] + height + gap
    if not tops:
        return tops
    off = sum(top + height / 2 - middle for top, height, middle in zip(tops, heights, wanted, strict=True)) / len(tops)
    return [top - off for top in tops]


def _heading(box: Box) -> float:
    return HEADING if box.heading else 0.0


def _row_height(row: Row, arrows: Iterable[Arrow]) -> float:
    incoming = outgoing = 0
    for arrow in arrows:
        incoming += arrow.target == row.id
        outgoing += arrow.source == row.id
    return max(LINE * (1 + len(row.notes)) + PADDING, PORT_GAP * max(incoming, outgoing) + PADDING)


def _width(box: Box) -> float:
    texts = [box.heading, *(text for row in box.rows for text in (row.title, *row.notes))]
    calls = CALL_ROOM if len(box.rows) > 1 and box.kind == "node" else 0.0
    return CELL * max(map(cells_of, texts)) + 2 * PADDING + calls


def _number(places: Sequence[_Place]) -> None:
    for index, place in enumerate(places):
        place.position = index / max(len(places), 1)


def _mean(neighbours: Sequence[_Place], position: float) -> float:
    return sum(each.position for each in neighbours) / len(neighbours) if neighbours else position


def _middle(neighbours: Sequence[_Place], place: _Place) -> float:
    return sum(each.middle for each in neighbours) / len(neighbours) if neighbours else place.middle
