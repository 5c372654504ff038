"""Nodes, their order, and what reaches what; decided once more here by walking every path."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import ITEM_MAX_BYTES, RUN, Document, World, party

from twocvm_verifier.manifest import Manifest, ManifestError, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.graph import Flow, in_order, nodes
from twocvm_verifier.manifest.model import PortRef

NAMES = st.integers(0, 7).map(lambda index: f"n{index}")
EDGES = st.lists(st.tuples(NAMES, NAMES), max_size=16)
ALL = tuple(f"n{index}" for index in range(8))


@given(EDGES)
def test_order_or_cycle(edges: list[tuple[str, str]]) -> None:
    """Either every edge points forward in the order, or a real cycle is named."""
    order, cycles = in_order(ALL, edges)
    assert sorted(order) == sorted(ALL)
    for cycle in cycles:
        steps = list(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
        assert all(step in edges for step in steps)
    if not cycles:
        position = {name: index for index, name in enumerate(order)}
        assert all(position[source] < position[target] for source, target in edges)


@given(EDGES, st.randoms())
def test_order_is_the_same_for_the_same_graph(edges: list[tuple[str, str]], shuffle: random.Random) -> None:
    """The order in which names and edges are given changes nothing."""
    names, again = list(ALL), list(edges)
    shuffle.shuffle(names)
    shuffle.shuffle(again)
    assert in_order(names, again) == in_order(ALL, edges)


def test_every_cycle_is_named() -> None:
    """Two cycles apart from each other are both named."""
    _, cycles = in_order(("a", "b", "c", "d", "e"), (("a", "b"), ("b", "a"), ("c", "c"), ("d", "e")))
    assert {frozenset(cycle) for cycle in cycles} == {frozenset("ab"), frozenset("c")}


def test_the_least_name_comes_first() -> None:
    """Of nodes that could run next, the one with the least name does."""
    order, _ = in_order(("c", "b", "a"), (("c", "b"),))
    assert order == ("a", "c", "b")


def test_nodes_of_a_chain() -> None:
    """Each component without calls is a node of its own, with its channels and outputs."""
    first, second = nodes(World().manifest)
    assert (first.name, second.name) == ("step-0", "step-1")
    assert [str(channel.source) for channel in first.inputs] == ["data:records-a"]
    assert [str(channel.target) for channel in first.channels] == ["component:step-1.previous"]
    assert dict(first.output_ports) == {PortRef(component="step-0", port="next"): ITEM_MAX_BYTES}
    assert {output.name for output in second.outputs} == {"model", "evaluation"}
    assert first.entry.name == "step-0"
    assert first.limits.wall_seconds == 10


ROWS = "example:tables/rows@1.0.0"


def joined(document: Document) -> None:
    """Join a library to the last step by a call."""
    limits = document["components"][0]["limits"]
    document["components"].append(
        {
            "name": "library",
            "owner": "hospital-a",
            "sha256": "07" * 32,
            "profile": "pure",
            "exports": [ROWS],
            "limits": limits,
        }
    )
    document["components"][1]["imports"].append(ROWS)
    document["channels"].append({"from": f"component:library.{ROWS}", "to": f"component:step-1.{ROWS}", "kind": "call"})


def test_calls_join_nodes() -> None:
    """Components joined by a call are one node, named after the member that is entered."""
    flow = Flow(World(edit=joined).manifest)
    last = flow.nodes[-1]
    assert last.name == "step-1"
    assert {member.name for member in last.members} == {"library", "step-1"}
    assert last.entry.name == "step-1"
    assert [str(call.source) for call in last.calls] == [f"component:library.{ROWS}"]
    assert [item.name for item in flow.items_reaching("step-1")] != []


def test_who_may_know_more_of_a_node() -> None:
    """A participant is entitled to a node only if every item that reaches it is its own."""
    flow = Flow(World().manifest)
    assert flow.is_entitled("hospital-a", node="step-0")
    assert not flow.is_entitled("hospital-b", node="step-0")
    assert not flow.is_entitled("analytics", node="step-0")
    assert not any(flow.is_entitled(name, node="step-1") for name in ("hospital-a", "hospital-b", "analytics"))


def test_nobody_is_entitled_to_a_node_without_data() -> None:
    """What a component does that no data reaches tells of its code alone, so nobody is told; not even its owner."""
    flow = Flow(World(items=0, components=1).manifest)
    assert not any(flow.is_entitled(name, node="step-0") for name in ("hospital-a", "hospital-b", "analytics"))


@st.composite
def _documents(draw: st.DrawFn) -> Document:
    """Draw a manifest of a random graph without cycles, with random must_not_reach rules."""
    size = draw(st.integers(1, 6))
    steps = [f"step-{index}" for index in range(size)]
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size)]
    edges = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    items = draw(st.lists(st.sets(st.sampled_from(steps), min_size=1), min_size=1, max_size=4))
    hospitals = st.sampled_from(["hospital-a", "hospital-b"])
    output = st.tuples(st.sampled_from(steps), st.sets(hospitals, min_size=1))
    outputs = draw(st.lists(output, min_size=1, max_size=4))
    bans = draw(st.lists(st.sets(hospitals), min_size=4, max_size=4))

    def edit(document: Document) -> None:
        document["channels"] = [_file(f"component:step-{a}.to-{b}", f"component:step-{b}.from-{a}") for a, b in edges]
        document["data"] = []
        for index, targets in enumerate(items):
            item = {"name": f"i{index}", "owner": "analytics", "media_type": "text/csv", "max_bytes": 1}
            if bans[index]:
                item["must_not_reach"] = sorted(bans[index])
            document["data"].append(item)
            document["channels"] += [_file(f"data:i{index}", f"component:{step}.i{index}") for step in targets]
        document["outputs"] = [
            {"name": f"o{index}", "from": f"component:{step}.o{index}", "recipients": sorted(to), "max_bytes": 1}
            for index, (step, to) in enumerate(outputs)
        ]

    return World(components=size, edit=edit).document


def _file(source: str, target: str) -> Document:
    return {"from": source, "to": target, "kind": "file", "max_bytes": 1}


def _paths(document: Document, end: str) -> Iterator[str]:
    """Yield every component that is reached from `end`, once for each path to it."""
    for channel in document["channels"]:
        if channel["from"].partition(".")[0] == end:
            step = channel["to"].partition(".")[0]
            yield step
            yield from _paths(document, step)


@given(_documents())
def test_flow_is_what_the_paths_say(document: Document) -> None:
    """must_not_reach is refused exactly where walking every path finds a recipient that is banned."""
    banned, reached_outputs = set(), {}
    for item in document["data"]:
        steps = set(_paths(document, f"data:{item['name']}"))
        reached = [output for output in document["outputs"] if output["from"].partition(".")[0] in steps]
        reached_outputs[item["name"]] = {output["name"] for output in reached}
        recipients = {name for output in reached for name in output["recipients"]}
        banned |= {(item["name"], name) for name in item.get("must_not_reach", ()) if name in recipients}
    raw = canonical_bytes(document)
    if banned:
        with pytest.raises(ManifestError) as refusal:
            parse_manifest(raw)
        assert [str(problem.rule) for problem in refusal.value.problems] == ["must-not-reach"] * len(banned)
    else:
        _flow_agrees(parse_manifest(raw), document, reached_outputs)


def _flow_agrees(manifest: Manifest, document: Document, reached_outputs: dict[str, set[str]]) -> None:
    flow = Flow(manifest)
    for name, outputs in reached_outputs.items():
        assert {output.name for output in flow.outputs_reached_by(name)} == outputs
    for node in flow.nodes:
        wanted = {
            item["name"]
            for item in document["data"]
            if f"component:{node.name}" in _paths(document, f"data:{item['name']}")
        }
        assert {item.name for item in flow.items_reaching(node.name)} == wanted


def _large() -> World:
    """Return 50 participants, 100 components and 200 items, each item into two nodes, every rule in use."""

    def edit(document: Document) -> None:
        document["participants"].append(party("outsider", "p384").entry())
        document["filters"] = [
            {"name": f"f{index}", "owner": "analytics", "builtin": "max_bytes", "parameters": {"max_bytes": 9}}
            for index in range(50)
        ]
        for index, item in enumerate(document["data"]):
            item |= {"must_pass": [f"f{index % 50}"], "must_not_reach": ["outsider"]}
            other = (index * 7 + 1) % 100
            document["channels"].append(
                {
                    "from": f"data:{item['name']}",
                    "to": f"component:step-{other}.again-{index}",
                    "kind": "file",
                    "max_bytes": ITEM_MAX_BYTES,
                }
            )
        for output in document["outputs"]:
            output["filters"] = [f"f{index}" for index in range(50)]

    return World(participants=49, components=100, items=200, edit=edit)


def test_a_large_manifest_is_checked_within_a_second() -> None:
    """50 participants, 100 components and 200 items take less than a second of this process."""
    raw = _large().raw
    began = time.process_time()
    manifest = parse_manifest(raw)
    flow = Flow(manifest)
    spent = time.process_time() - began
    assert (len(manifest.participants), len(manifest.components), len(manifest.data)) == (50, 100, 200)
    assert len(flow.nodes) == 100
    assert len(flow.outputs_reached_by("records-30")) == 2
    assert spent < 1


def _nothing_but(kind: str, count: int) -> bytes:
    """Return a manifest of almost a mebibyte that is made to be slow in one way."""
    document = World(items=0, components=1).document
    step = document["components"][0] | {"imports": ["wasi:io/error@0.2.0"]}
    if kind == "chain backwards":
        document["components"] = [step | {"name": f"s{index:05}"} for index in range(count)]
        document["channels"] = [
            _file(f"component:s{index + 1:05}.a", f"component:s{index:05}.b") for index in range(count - 1)
        ]
        document["outputs"] = [document["outputs"][0] | {"from": "component:s00000.out"}]
    elif kind == "self loops":
        document["components"] = [step | {"name": f"s{index:05}"} for index in range(count)]
        document["channels"] = [_file(f"component:s{index:05}.a", f"component:s{index:05}.b") for index in range(count)]
    elif kind == "repeated filters":
        document["outputs"][0]["filters"] = ["a"] * (count * 40)
    else:
        document["data"] = [
            {"name": f"i{index}", "owner": "nobody", "media_type": "a/b", "max_bytes": 1, "must_pass": ["f"]}
            for index in range(count * 2)
        ]
    return canonical_bytes(document)


@pytest.mark.parametrize("kind", ["chain backwards", "self loops", "repeated filters", "unknown owners"])
def test_hostile_manifests_are_decided_soon(kind: str) -> None:
    """A document near the size limit, made to be slow, takes seconds and never minutes."""
    raw = _nothing_but(kind, 2000)
    assert len(raw) <= 2**20
    began = time.process_time()
    with pytest.raises(ManifestError):
        parse_manifest(raw)
    assert time.process_time() - began < 10


def test_run_is_the_entry_of_files() -> None:
    """The world's components are entered where WASI commands are."""
    assert {component.entry for component in World().manifest.components} == {RUN}
