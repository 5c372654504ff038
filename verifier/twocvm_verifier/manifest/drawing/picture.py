"""What a drawing shows: boxes in layers from left to right, and the arrows between their rows.

Participants who give data, the data, the nodes in their order, filters, outputs, and everybody again as a recipient.
Identifiers are made here and hold nothing of a manifest's.

>>> shortened("as long as this", cells=8)
'as long…'
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twocvm_verifier.manifest.filter_words import describe
from twocvm_verifier.manifest.filters import ByComponent
from twocvm_verifier.manifest.graph import Flow, Node
from twocvm_verifier.manifest.model import Channel, ChannelKind, DataRef, Manifest, Output, ParticipantEntry
from twocvm_verifier.manifest.wording import quoted

# More is no drawing any more: nobody reads it, and to lay it out takes long.
MAX_ROWS: Final = 400
_LABEL_CELLS: Final = 34
_PORT_CELLS: Final = 16


class TooLargeToDrawError(ValueError):
    """A manifest has more parts than a drawing can show."""


class BoxKind(StrEnum):
    """What a box stands for."""

    GIVER = "giver"
    DATA = "data"
    NODE = "node"
    FILTERS = "filters"
    OUTPUT = "output"
    RECIPIENT = "recipient"


class ArrowKind(StrEnum):
    """What an arrow stands for."""

    GIVES = "gives"
    FILE = "file"
    WINDOW = "window"
    CALL = "call"
    GETS = "gets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line or more in a box, at which arrows begin and end.

    Attributes:
        id: Unique in the picture; letters and digits.
        title: What it is called.
        notes: Further lines.
    """

    id: str
    title: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One thing, or several that belong together.

    Attributes:
        id: Unique in the picture; letters and digits.
        kind: What it stands for.
        layer: Its column, from 0.
        rows: At least one.
        heading: What several rows are together; empty for one.
    """

    id: str
    kind: BoxKind
    layer: int
    rows: tuple[Row, ...]
    heading: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """One way that data may take, from a row to a row; a `call` carries it both ways.

    Attributes:
        source: A row's id.
        target: A row's id, in a later layer; for `call` in the same box.
        kind: What it stands for.
        label: A few words; may be empty.
    """

    source: str
    target: str
    kind: ArrowKind
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing before it is laid out.

    Attributes:
        title: The manifest's name.
        purpose: The manifest's purpose, in quotes and perhaps shortened.
        hash: The manifest's hash, hex.
        warnings: What nobody should overlook.
        boxes: All boxes.
        arrows: All arrows.
    """

    title: str
    purpose: str
    hash: str
    warnings: tuple[str, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def picture(manifest: Manifest) -> Picture:
    """Return the drawing of a manifest.

    Raises:
        TooLargeToDrawError: It would have more than `MAX_ROWS` rows.
    """
    rows = len(manifest.components) + len(manifest.data) + 2 * len(manifest.participants)
    rows += sum(1 + len(output.filters) for output in manifest.outputs)
    if rows > MAX_ROWS:
        raise TooLargeToDrawError(f"drawing: got {rows} rows, want at most {MAX_ROWS}")
    sketch = _Sketch(manifest)
    return Picture(
        title=manifest.name,
        purpose=quoted(shortened(manifest.purpose, cells=100)),
        hash=manifest.hash.hex(),
        warnings=("SIMULATED platforms are accepted: they protect nothing",) if manifest.platform.simulated else (),
        boxes=tuple(sketch.boxes),
        arrows=tuple(sketch.arrows),
    )


class _Sketch:
    """Collects boxes and arrows."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._flow = Flow(manifest)
        self.boxes: list[Box] = []
        self.arrows: list[Arrow] = []
        self._row_of = {component.name: f"c{index}" for index, component in enumerate(manifest.components)}
        self._item_row = {item.name: f"d{index}" for index, item in enumerate(manifest.data)}
        depth = _depths(self._flow)
        self._behind = 2 + max(depth.values(), default=-1) + 1
        self._add_givers()
        for node in self._flow.nodes:
            self._add_node(node, layer=2 + depth[node.name])
        for channel in manifest.channels:
            self.arrows.append(self._channel(channel))
        for index, output in enumerate(manifest.outputs):
            self._add_output(f"o{index}", output)
        self._add_recipients()

    def _add_givers(self) -> None:
        for index, entry in enumerate(self._manifest.participants):
            items = self._manifest.items_of(entry.name)
            if items:
                self._add(f"g{index}", BoxKind.GIVER, 0, entry.name, tuple(_labels(entry)))
            for item in items:
                row = self._item_row[item.name]
                self._add(row, BoxKind.DATA, 1, item.name, (f"{item.max_bytes:,} B",))
                self._arrow(f"g{index}", row, ArrowKind.GIVES, "")

    def _add_node(self, node: Node, *, layer: int) -> None:
        rows = tuple(
            Row(
                id=self._row_of[member.name],
                title=shortened(member.name, cells=_LABEL_CELLS),
                notes=(shortened(f"code of {member.owner}", cells=_LABEL_CELLS),),
            )
            for member in node.members
        )
        heading = "one store, one fate" if len(rows) > 1 else ""
        self.boxes.append(Box(id=f"n{rows[0].id}", kind=BoxKind.NODE, layer=layer, rows=rows, heading=heading))

    def _channel(self, channel: Channel) -> Arrow:
        source = channel.source
        start = self._item_row[source.name] if isinstance(source, DataRef) else self._row_of[source.component]
        port = shortened(channel.target.port, cells=_PORT_CELLS)
        label = port if channel.kind is ChannelKind.CALL else f"{port} ≤ {channel.max_bytes:,} B"
        return Arrow(
            source=start, target=self._row_of[channel.target.component], kind=ArrowKind(channel.kind), label=label
        )

    def _add_output(self, row: str, output: Output) -> None:
        source = self._row_of[output.source.component]
        if output.filters:
            rows = tuple(self._filters(row, output))
            self.boxes.append(
                Box(id=f"{row}f", kind=BoxKind.FILTERS, layer=self._behind, rows=rows, heading="passes, in this order")
            )
            self._arrow(source, rows[0].id, ArrowKind.FILE, f"≤ {output.max_bytes:,} B")
            source = rows[-1].id
        self._add(row, BoxKind.OUTPUT, self._behind + 1, output.name, (f"≤ {output.max_bytes:,} B",))
        self._arrow(source, row, ArrowKind.FILE, "")

    def _filters(self, row: str, output: Output) -> Iterator[Row]:
        for index, name in enumerate(output.filters):
            kind = self._manifest.filter(name).kind
            does = describe(kind)
            if isinstance(kind, ByComponent):
                does = f"{kind.component}, code of {self._manifest.component(kind.component).owner}"
            title = shortened(f"{index + 1}. {name}", cells=_LABEL_CELLS)
            yield Row(id=f"{row}f{index}", title=title, notes=(shortened(does, cells=_LABEL_CELLS),))

    def _add_recipients(self) -> None:
        outputs = list(enumerate(self._manifest.outputs))
        for index, entry in enumerate(self._manifest.participants):
            got = [f"o{number}" for number, output in outputs if entry.name in output.recipients]
            notes = () if got else ("gets nothing",)
            self._add(f"r{index}", BoxKind.RECIPIENT, self._behind + 2, entry.name, (*_labels(entry), *notes))
            for row in got:
                self._arrow(row, f"r{index}", ArrowKind.GETS, "")

    def _add(self, row: str, kind: BoxKind, layer: int, title: str, notes: tuple[str, ...]) -> None:
        title = shortened(title, cells=_LABEL_CELLS)
        self.boxes.append(Box(id=f"b{row}", kind=kind, layer=layer, rows=(Row(id=row, title=title, notes=notes),)))

    def _arrow(self, source: str, target: str, kind: ArrowKind, label: str) -> None:
        self.arrows.append(Arrow(source=source, target=target, kind=kind, label=label))


def cells_of(text: str) -> int:
    """Return how many cells of a fixed-width font a text takes; some characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shortened(text: str, *, cells: int) -> str:
    """Return a text of at most so many cells; what was cut off shows as an ellipsis."""
    if cells_of(text) <= cells:
        return text
    kept = text[:cells]
    while cells_of(kept) >= cells:
        kept = kept[:-1]
    return f"{kept}…"


def _labels(entry: ParticipantEntry) -> Iterator[str]:
    for label in (entry.display, entry.external_id):
        if label:
            yield quoted(shortened(label, cells=_LABEL_CELLS - 2))


def _depths(flow: Flow) -> dict[str, int]:
    """Return for each node the length of the longest path of nodes to it."""
    node_of = {member.name: node.name for node in flow.nodes for member in node.members}
    depth = {node.name: 0 for node in flow.nodes}
    for node in flow.nodes:
        for channel in node.channels:
            target = node_of[channel.target.component]
            depth[target] = max(depth[target], depth[node.name] + 1)
    return depth
