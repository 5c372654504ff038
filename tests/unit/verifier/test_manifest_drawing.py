"""Drawings of manifests: what is in them, where it lies, and the command that writes them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.support.manifests import ITEM_MAX_BYTES, Document, World, party, use_everything
from tests.support.random_manifests import documents

from twocvm_guest.main import run
from twocvm_verifier.manifest import parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.drawing import MAX_ROWS, Picture, TooLargeToDrawError, mermaid, picture, svg
from twocvm_verifier.manifest.drawing.layout import Layout, Rect, lay_out, spread
from twocvm_verifier.manifest.drawing.picture import Arrow, ArrowKind, BoxKind, cells_of, shortened

FULL = World(edit=use_everything)


def _titles(drawn: Picture, kind: BoxKind) -> list[tuple[str, ...]]:
    return [tuple(row.title for row in box.rows) for box in drawn.boxes if box.kind is kind]


def _ends(drawn: Picture, kind: ArrowKind) -> list[tuple[str, str, str]]:
    title = {row.id: row.title for box in drawn.boxes for row in box.rows}
    return [(title[arrow.source], title[arrow.target], arrow.label) for arrow in drawn.arrows if arrow.kind is kind]


def test_everything_of_the_graph_is_there() -> None:
    """Data, nodes, filters, outputs and people are boxes; each channel is one arrow with its port and its limit."""
    drawn = picture(FULL.manifest)
    assert _titles(drawn, BoxKind.GIVER) == [("hospital-a",), ("hospital-b",)]
    assert sorted(_titles(drawn, BoxKind.DATA)) == [("records-a",), ("records-b",)]
    assert _titles(drawn, BoxKind.NODE) == [("step-0", "tables"), ("step-1",)]
    assert _titles(drawn, BoxKind.FILTERS)[0][:3] == ("1. small", "2. smaller", "3. cleaned")
    assert sorted(_titles(drawn, BoxKind.OUTPUT)) == [("evaluation",), ("model",)]
    assert len(_titles(drawn, BoxKind.RECIPIENT)) == 4
    assert _ends(drawn, ArrowKind.WINDOW) == [("records-b", "step-0", "mapped ≤ 1,000,000 B")]
    assert _ends(drawn, ArrowKind.CALL) == [("tables", "step-0", "example:tables/…")]
    assert ("step-0", "step-1", "previous ≤ 1,000,000 B") in _ends(drawn, ArrowKind.FILE)
    assert ("step-1", "1. small", "≤ 4,096 B") in _ends(drawn, ArrowKind.FILE)
    assert ("8. padded", "model", "") in _ends(drawn, ArrowKind.FILE)
    assert _ends(drawn, ArrowKind.GETS).count(("model", "analytics", "")) == 1
    outsider = next(box for box in drawn.boxes if box.rows[0].title == "outsider")
    assert outsider.rows[0].notes == ("gets nothing",)
    cleaned = next(row for box in drawn.boxes for row in box.rows if row.title == "3. cleaned")
    assert cleaned.notes == ("cleaner, code of analytics",)


def test_what_is_drawn_is_written() -> None:
    """Each title, label and warning stands in the SVG as text of its own, and in the flowchart."""
    drawn = picture(FULL.manifest)
    texts = {element.text for element in ET.fromstring(svg(drawn)).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314
    wanted = {row.title for box in drawn.boxes for row in box.rows}
    wanted |= {arrow.label for arrow in drawn.arrows if arrow.kind is not ArrowKind.CALL and arrow.label}
    assert wanted | {"SIMULATED platforms are accepted: they protect nothing", f"manifest {drawn.hash}"} <= texts
    flowchart = mermaid(drawn)
    assert 'w0["SIMULATED platforms are accepted: they protect nothing"]' in flowchart
    assert flowchart.count("<-.->") == 1
    assert flowchart.count("==>") == 1
    assert '  c0 -->|"previous #8804; 1,000,000 B"| c2' in flowchart


def test_hardware_has_no_warning() -> None:
    """A manifest that accepts no simulated platform is drawn without a warning about one."""

    def edit(document: Document) -> None:
        del document["platform"]["simulated"]
        document["platform"]["products"] = ["Genoa"]

    assert picture(World(edit=edit).manifest).warnings == ()


@given(documents())
@settings(max_examples=40)
def test_nothing_lies_upon_anything(document: Document) -> None:
    """Boxes lie apart, inside the drawing; arrows go forward, end at their rows, and cross no box between."""
    drawn = picture(parse_manifest(canonical_bytes(document)))
    layout = lay_out(drawn)
    for one, other in combinations(layout.boxes.values(), 2):
        assert one.right < other.x or other.right < one.x or _apart(one, other)
    for rect in layout.boxes.values():
        assert rect.x >= 0
        assert rect.y >= 0
        assert rect.right <= layout.width + 1
        assert rect.y + rect.height <= layout.height
    assert len(layout.paths) == sum(arrow.kind is not ArrowKind.CALL for arrow in drawn.arrows)
    for arrow, points in layout.paths:
        _goes_well(arrow, points, layout)


def _goes_well(arrow: Arrow, points: tuple[tuple[float, float], ...], layout: Layout) -> None:
    source, target = layout.rows[arrow.source], layout.rows[arrow.target]
    assert points[0][0] == source.right
    assert source.y <= points[0][1] <= source.y + source.height
    assert points[-1][0] == target.x
    assert target.y <= points[-1][1] <= target.y + target.height
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    # Where it goes straight through a layer, no box of the layer is.
    for (start, y), (end, _) in zip(points[2:-2:2], points[3:-2:2], strict=True):
        for rect in layout.boxes.values():
            assert rect.x > end or rect.right < start or not rect.y <= y <= rect.y + rect.height


def _apart(one: Rect, other: Rect) -> bool:
    return one.y + one.height < other.y or other.y + other.height < one.y


@pytest.mark.parametrize("components", [1, 3, 50])
def test_sizes_are_sane(components: int) -> None:
    """A chain of 50 nodes is as wide as it must be, and no higher than what stands in one column."""
    layout = lay_out(picture(World(components=components, items=4).manifest))
    assert layout.width < 1300 + 400 * components
    assert layout.height < 500


def test_fifty_components_side_by_side() -> None:
    """Fifty nodes that all read one item are one column, some 80 pixels each, with an arrow to each."""

    def edit(document: Document) -> None:
        step = document["components"][0]
        document["components"] = [step | {"name": f"step-{index}"} for index in range(50)]
        document["channels"] = [
            {"from": "data:records-a", "to": f"component:step-{index}.in", "kind": "file", "max_bytes": ITEM_MAX_BYTES}
            for index in range(50)
        ]
        document["outputs"][0]["from"] = document["outputs"][1]["from"] = "component:step-1.model"
        del document["outputs"][1]

    layout = lay_out(picture(World(items=1, components=2, edit=edit).manifest))
    assert layout.height < 50 * 90
    assert layout.width < 1500
    ends = [points[-1] for arrow, points in layout.paths if arrow.kind is ArrowKind.FILE]
    assert len(set(ends)) == len(ends)


def test_arrows_that_look_the_same_are_all_drawn() -> None:
    """Two channels whose ports differ only behind what is shown of them are two arrows at two heights."""

    def edit(document: Document) -> None:
        for end in ("a", "b"):
            port = "a-very-long-name-of-a-port-" + end
            document["channels"].append(
                {
                    "from": "data:records-a",
                    "to": f"component:step-1.{port}",
                    "kind": "file",
                    "max_bytes": ITEM_MAX_BYTES,
                }
            )

    layout = lay_out(picture(World(edit=edit).manifest))
    alike = [points for arrow, points in layout.paths if arrow.label.startswith("a-very-long-nam…")]
    assert len(alike) == 2
    assert alike[0][-1] != alike[1][-1]


def test_too_many_parts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest with more parts than anybody could look at is refused by name, as a mistake of usage."""
    world = World(items=MAX_ROWS)
    with pytest.raises(TooLargeToDrawError):
        picture(world.manifest)
    path = tmp_path / "manifest.json"
    path.write_bytes(world.raw)
    assert run(["manifest", "show", str(path), "--format", "svg"]) == 2
    assert "--format" in capsys.readouterr().err


def test_words_are_cut_by_what_is_seen() -> None:
    """Wide characters count as two cells, and what is cut off shows as an ellipsis."""
    assert shortened("short", cells=5) == "short"
    assert shortened("longer", cells=5) == "long…"
    assert cells_of("病院") == 4
    assert shortened("病院病院", cells=5) == "病院…"


def test_spreading_nothing() -> None:
    """An empty column has no places."""
    assert spread([], [], gap=1.0) == []


def test_command_writes_each_form(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Lines are the default; SVG and mermaid go to a file or to stdout; the JSON form stays what it was."""
    path, out = tmp_path / "manifest.json", tmp_path / "out"
    path.write_bytes(FULL.raw)
    assert run(["manifest", "show", str(path)]) == 0
    assert capsysbinary.readouterr().out.startswith(b"test-study\n")
    assert run(["manifest", "show", str(path), "--format", "svg", "--out", str(out)]) == 0
    assert out.read_text() == svg(picture(FULL.manifest))
    assert run(["manifest", "show", str(path), "--format", "mermaid"]) == 0
    assert capsysbinary.readouterr().out == mermaid(picture(FULL.manifest)).encode()
    assert run(["manifest", "show", str(path), "-o", "json"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["hash"] == FULL.manifest.hash.hex()
    for more in (["--format", "svg"], ["--out", str(out)]):
        assert run(["manifest", "show", str(path), "-o", "json", *more]) == 2


def test_participants_without_labels() -> None:
    """A participant who gives nothing and has a label is drawn once, as a recipient, with the label in quotes."""

    def edit(document: Document) -> None:
        document["participants"].append(party("outsider", "p384").entry() | {"display": "Out"})

    drawn = picture(World(edit=edit).manifest)
    found = [box for box in drawn.boxes if box.rows[0].title == "outsider"]
    assert [box.kind for box in found] == [BoxKind.RECIPIENT]
    assert found[0].rows[0].notes == ('"Out"', "gets nothing")
