"""A stranger's text in a drawing stays text: in XML, in a real browser, and in mermaid."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.browser import visited
from tests.support.manifests import Document, World, use_everything

from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.drawing import Picture, mermaid, picture, svg
from twocvm_verifier.strictjson import text_problem

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "defs", "marker", "path", "rect", "g", "text"}
ATTRIBUTES = {
    "width", "height", "viewBox", "font-family", "font-size", "id", "refX", "refY", "markerWidth", "markerHeight",
    "markerUnits", "orient", "d", "fill", "stroke", "stroke-width", "stroke-dasharray", "marker-start", "marker-end",
    "x", "y", "rx", "transform", "overflow", "font-weight",
}  # fmt: skip
# Short, so that nothing of them is cut off; each is something that one of the three readers might act on.
HOSTILE = (
    "<script src=/x></script>",
    "</text><script src=/x />",
    "<img src=/x onerror=x()>",
    "&lt;img src=/x&gt;",
    "&#60;img src=/x&#62;",
    "]]><image href='/x'/>",
    "'\"><use href='/x'/>",
    '"]; click g0 "/x"',
    "%%{init: {}}%% end",
    "#60;img src=/x#62;",
    "`**x**` #quot;end",
    "--> n0 subgraph end",
    "\ufffe\uffff\U0001f600",
)
MERMAID = Path(__file__).parents[2] / "build" / "mermaid" / "node_modules" / "mermaid" / "dist" / "mermaid.min.js"
LABEL = r'"(?:[A-Za-z0-9 ,:-]|#[0-9]+;|<br/>)*"'
LINES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"flowchart LR",
        r"  %% [a-z][a-z0-9-]*, manifest [0-9a-f]{64}",
        rf" +[a-z][a-z0-9]*(?:\(\[{LABEL}\]\)|\[{LABEL}\])",
        rf" +[a-z][a-z0-9]* (?:-->|==>|<-\.->)(?:\|{LABEL}\|)? [a-z][a-z0-9]*",
        rf"  subgraph [a-z][a-z0-9]*\[{LABEL}\]",
        r"  end",
    )
)


def _hostile(display: str, external_id: str, purpose: str) -> Manifest:
    def edit(document: Document) -> None:
        use_everything(document)
        document["participants"][0] |= {"display": display, "external_id": external_id}
        document["purpose"] = purpose

    return World(edit=edit).manifest


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_xml(text: str) -> None:
    """The drawing has only the elements and attributes of ours, and the stranger's text as it is, in quotes."""
    root = _parsed(picture(_hostile(text, text, text)))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    assert {name for element in root.iter() for name in element.attrib} <= ATTRIBUTES
    shown = [element.text for element in root.iter(f"{SVG}text")]
    wanted = json.dumps(text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd"), ensure_ascii=False)
    # A giver, a recipient, each with both labels, and the purpose.
    assert shown.count(wanted) == 5


@given(st.text(min_size=1, max_size=40).filter(lambda text: text_problem(text) is None))
@settings(max_examples=60)
def test_any_text_is_drawn(text: str) -> None:
    """Whatever text a manifest may hold, the drawing is XML of ours alone, and mermaid's lines are ours alone."""
    drawn = picture(_hostile(text, text, text))
    root = _parsed(drawn)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    _only_our_lines(mermaid(drawn))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_mermaid(text: str) -> None:
    """Each line of the flowchart is one of ours, in whose labels everything but plain signs is a number."""
    _only_our_lines(mermaid(picture(_hostile(text, text, text))))


def test_a_browser_neither_runs_nor_loads_anything(tmp_path: Path) -> None:
    """In a real browser hostile drawings make no request and have no active element; a page that does is noticed."""
    drawings = "".join(_drawings(svg))
    visit = visited(f"<!doctype html><meta charset=utf-8><title>quiet</title>{drawings}", tmp_path / "a")
    assert visit.asked == ()
    assert "<title>quiet</title>" in visit.document
    assert not re.search(r"<(script|img|image|use|a|iframe|style|link|foreignObject)\b", visit.document)
    assert visit.document.count("</svg>") > 100
    noticed = visited(f"<!doctype html><img src=/x><script src=/y></script>{drawings}", tmp_path / "b")
    assert set(noticed.asked) == {"/x", "/y"}


def test_mermaid_itself_shows_hostile_text_as_text(tmp_path: Path) -> None:
    """Mermaid, also where its user allows everything, draws every label as it was written and loads nothing."""
    if not MERMAID.exists():
        pytest.skip("mermaid is not installed in build/mermaid")
    flowcharts = json.dumps(list(_drawings(mermaid))).replace("<", "\\u003c")
    page = f"""<!doctype html><meta charset=utf-8><pre id=said></pre><script src=/mermaid.js></script><script>
    (async () => {{
      const labels = [];
      for (const securityLevel of ["strict", "loose"]) {{
        mermaid.initialize({{startOnLoad: false, securityLevel}});
        for (const flowchart of {flowcharts}) {{
          const place = document.createElement("div");
          document.body.append(place);
          place.innerHTML = (await mermaid.render("g" + labels.length, flowchart)).svg;
          labels.push(...[...place.querySelectorAll(".nodeLabel")].map(label => label.innerText));
          const found = place.querySelectorAll("script, img, image, a, iframe");
          labels.push(...[...found].map(each => "FOUND " + each.tagName));
          place.remove();
        }}
      }}
      document.getElementById("said").textContent = JSON.stringify(labels);
    }})();</script>"""
    visit = visited(page, tmp_path / "c", files={"/mermaid.js": MERMAID.read_bytes()})
    assert visit.asked == ("/mermaid.js",)
    said = re.search(r'<pre id="said">(.*?)</pre>', visit.document, re.DOTALL)
    assert said is not None
    labels = json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert not [label for label in labels if label.startswith("FOUND")]
    lines = [line for label in labels for line in label.split("\n")]
    for text in HOSTILE:
        # Twice a giver and a recipient with two labels each.
        assert lines.count(json.dumps(text, ensure_ascii=False)) == 8, text


def _parsed(drawn: Picture) -> ET.Element:
    # No document type and no entity of its own: there is nothing that the parser could expand.
    text = svg(drawn)
    assert "<!" not in text
    return ET.fromstring(text)  # noqa: S314


def _drawings(form: object) -> Iterator[str]:
    assert callable(form)
    for text in HOSTILE:
        yield form(picture(_hostile(text, text, text)))


def _only_our_lines(flowchart: str) -> None:
    for line in flowchart.splitlines():
        assert any(pattern.fullmatch(line) for pattern in LINES), line
