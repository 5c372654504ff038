"""Manifests of random graphs, and what every path through them says: walked one by one, on the JSON document.

document = draw(documents())                      # valid but for must_* rules, of which it has none
walked = Walked(document)
walked.seen_by("i0"), walked.reached("i0")        # components, participants

Steps form a graph without cycles; some have a library that they call, some outputs a component that filters them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from hypothesis import strategies as st
from tests.support.manifests import Document, World, builtin

PEOPLE = ("analytics", "hospital-a", "hospital-b")
ROWS = "example:tables/rows@1.0.0"
FILTERS = ("small", "cleaned", "padded")


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Draw a valid manifest."""
    size = draw(st.integers(1, 5))
    people = st.sampled_from(PEOPLE)
    owners = draw(st.lists(people, min_size=size, max_size=size))
    libraries = draw(st.dictionaries(st.integers(0, size - 1), people, max_size=2))
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size)]
    edges = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    items = draw(st.lists(st.tuples(people, st.sets(st.integers(0, size - 1), min_size=1)), max_size=4))
    chains = st.sets(st.sampled_from(FILTERS)).map(lambda names: [name for name in FILTERS if name in names])
    output = st.tuples(st.integers(0, size - 1), st.sets(people, min_size=1), chains)
    outputs = draw(st.lists(output, min_size=1, max_size=4))
    cleaner = draw(people)
    operator = draw(st.sampled_from([*PEOPLE, "external"]))

    def edit(document: Document) -> None:
        step = copy.deepcopy(document["components"][0])
        document["components"] = [
            step
            | {"name": f"s{index}", "owner": owner, "imports": [*step["imports"], *([ROWS] * (index in libraries))]}
            for index, owner in enumerate(owners)
        ]
        for index, owner in libraries.items():
            library = {key: member for key, member in step.items() if key not in ("entry", "imports")}
            document["components"].append(
                library | {"name": f"l{index}", "owner": owner, "profile": "pure", "exports": [ROWS]}
            )
        document["components"].append(step | {"name": "cleaner", "owner": cleaner})
        document["data"] = [
            {"name": f"i{index}", "owner": owner, "media_type": "text/csv", "max_bytes": 1}
            for index, (owner, _) in enumerate(items)
        ]
        document["channels"] = [file(f"component:s{a}.to-{b}", f"component:s{b}.from-{a}") for a, b in sorted(edges)]
        document["channels"] += [
            {"from": f"component:l{index}.{ROWS}", "to": f"component:s{index}.{ROWS}", "kind": "call"}
            for index in libraries
        ]
        document["channels"] += [
            file(f"data:i{index}", f"component:s{target}.i{index}")
            for index, (_, targets) in enumerate(items)
            for target in sorted(targets)
        ]
        document["outputs"] = [
            {"name": f"o{index}", "from": f"component:s{source}.o{index}", "recipients": sorted(to), "max_bytes": 100}
            | ({"filters": chain} if chain else {})
            for index, (source, to, chain) in enumerate(outputs)
        ]
        document["filters"] = [
            builtin("small", "max_bytes", max_bytes=50),
            {"name": "cleaned", "owner": "hospital-a", "component": "cleaner"},
            builtin("padded", "padding", sizes=[64, 100]),
        ]
        document["platform"]["operator"] = operator
        for name in ("data", "channels"):
            if not document[name]:
                del document[name]

    return World(edit=edit).document


def file(source: str, target: str) -> Document:
    """Return a channel of one byte."""
    return {"from": source, "to": target, "kind": "file", "max_bytes": 1}


def another_channel(draw: st.DrawFn, document: Document) -> Document:
    """Return the document with one channel more, from an item or an earlier step to a step."""
    steps = sorted(entry["name"] for entry in document["components"] if entry["name"].startswith("s"))
    target = draw(st.sampled_from(steps))
    sources = [f"data:{item['name']}" for item in document.get("data", ())]
    sources += [f"component:{step}.more" for step in steps if step < target]
    changed = copy.deepcopy(document)
    if sources:
        channel = file(draw(st.sampled_from(sources)), f"component:{target}.more-in")
        changed["channels"] = [*changed.get("channels", ()), channel]
    return changed


class Walked:
    """What the paths of a document say."""

    def __init__(self, document: Document) -> None:
        self.owner = {entry["name"]: entry["owner"] for entry in (*document["components"], *document.get("data", ()))}
        self.items = tuple(item["name"] for item in document.get("data", ()))
        self.outputs = {output["name"]: output for output in document["outputs"]}
        self._channels = document.get("channels", ())

    def seen_by(self, item: str) -> set[str]:
        """Return every component that is on a path from an item to anybody, or to nobody."""
        seen = set(self._walk(f"data:{item}"))
        return seen | {"cleaner" for name in self.told_in(item) if "cleaned" in self.outputs[name].get("filters", ())}

    def told_in(self, item: str) -> set[str]:
        """Return every output at the end of a path from an item."""
        return self.made_from(f"data:{item}")

    def made_from(self, end: str) -> set[str]:
        """Return every output at the end of a path from `data:NAME` or `component:NAME`."""
        walked = set(self._walk(end))
        if end.startswith("component:"):
            begun = _component(end)
            walked |= {begun, *(step for partner in self._partners(begun) for step in self._from(partner))}
        return {name for name, output in self.outputs.items() if _component(output["from"]) in walked}

    def reached(self, item: str) -> set[str]:
        """Return every participant that gets one of them."""
        return {name for output in self.told_in(item) for name in self.outputs[output]["recipients"]}

    def _walk(self, end: str) -> Iterator[str]:
        """Yield every component behind `end`, and those that it calls or that call it, once for each path."""
        for channel in self._channels:
            if channel["kind"] != "call" and channel["from"].partition(".")[0] == end:
                step = _component(channel["to"])
                yield step
                yield from self._partners(step)
                yield from self._walk(f"component:{step}")

    def _from(self, component: str) -> Iterator[str]:
        yield component
        yield from self._walk(f"component:{component}")

    def _partners(self, component: str) -> set[str]:
        ends = [{_component(each["from"]), _component(each["to"])} for each in self._channels if each["kind"] == "call"]
        return {name for pair in ends if component in pair for name in pair - {component}}


def _component(end: str) -> str:
    return end.partition(":")[2].partition(".")[0]
