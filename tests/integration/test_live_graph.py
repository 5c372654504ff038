"""What runs is the manifest's graph and nothing else: read from live workers and compared edge by edge."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from tests.support.actor import isolation
from tests.support.graphs import Part, graph
from tests.support.live_graph import Found, FoundWorker, answers, content, held, imports_of, watched
from tests.support.manifests import party
from tests.support.sdk import identity_of
from tests.support.wat_calls import ADD_TYPE, ADDER, adder
from tests.support.wat_windows import pure_reader

from twocvm_guest.demo.agreement import write_manifest
from twocvm_guest.demo.cast import CAST
from twocvm_guest.demo.files import demo_folder
from twocvm_guest.runtime.messages import Work
from twocvm_verifier.clock import SystemClock
from twocvm_verifier.manifest import Manifest, parse_manifest
from twocvm_verifier.manifest.author import canonical_bytes
from twocvm_verifier.manifest.graph import Flow, Node
from twocvm_verifier.manifest.profiles import WINDOWS_INTERFACE

READER = "test:calls/reader@1.0.0"
# A function of each of some interfaces that no manifest here lists.
NEVER = ((ADDER, "add"), (READER, "read"), (WINDOWS_INTERFACE, "size"), ("twocvm:window/windows@2.0.0", "size"))


@pytest.fixture(autouse=True)
def looked_into() -> None:
    """Skips, visibly, where a worker cannot be looked into or this machine does not give everything."""
    if os.geteuid() != 0:
        pytest.skip("only root may look into a worker")
    if missing := [f"{feature.name} ({feature.reason})" for feature in isolation().missing]:
        pytest.skip(f"this machine does not give workers everything: {', '.join(missing)}")


def _diamond() -> tuple[Manifest, dict[str, Part]]:
    """Two items, four nodes, two of them between one and another, and an output from two of the nodes."""
    ports = {"top": ["left", "right"], "left": ["half"], "right": ["half", "aside"], "last": ["report"]}
    parts = {name: held(own, name=name) for name, own in ports.items()}
    channels = [
        ("file", "table", "top.table"),
        ("file", "table", "right.table"),
        ("file", "weights", "last.weights"),
        ("file", "top.left", "left.in"),
        ("file", "top.right", "right.in"),
        ("file", "left.half", "last.left"),
        ("file", "right.half", "last.right"),
    ]
    return graph(parts, channels, ["last.report", "right.aside"]), parts


def _composite() -> tuple[Manifest, dict[str, Part]]:
    """One node of three components, of which one has a window, and one node that reads what it leaves."""
    calls = f'(import "{ADDER}" (instance $adder (export "add" {ADD_TYPE})))'
    calls += f'(import "{READER}" (instance $reader (export "read" (func (result u64)))))'
    parts = {
        "adder": adder(),
        "reader": pure_reader(READER, "(i64.extend_i32_u (call $lay))"),
        "main": held(
            ["report"],
            name="main",
            takes=(ADDER, READER),
            imports=calls,
            lowered="""(core func $add (canon lower (func $adder "add")))
                (core func $look (canon lower (func $reader "read")))
                (core instance $calls (export "add" (func $add)) (export "look" (func $look)))""",
            imported="""(import "calls" "add" (func $add (param i64 i64) (result i64)))
                (import "calls" "look" (func $look (result i64)))""",
            given='(with "calls" (instance $calls))',
            before="(drop (call $add (i64.const 1) (call $look)))",
        ),
        "last": held(["end"], name="last"),
    }
    channels = [
        ("call", f"adder.{ADDER}", f"main.{ADDER}"),
        ("call", f"reader.{READER}", f"main.{READER}"),
        ("window", "table", "reader.table"),
        ("file", "weights", "main.weights"),
        ("file", "main.report", "last.report"),
    ]
    return graph(parts, channels, ["last.end"]), parts


def _filtered() -> tuple[Manifest, dict[str, Part]]:
    """One node with two outputs, one of which passes a component and then a built-in."""
    parts = {"main": held(["report", "open"], name="main"), "cleaner": held(["filtered"], name="cleaner")}
    channels = [("file", "table", "main.table"), ("file", "weights", "main.weights")]
    manifest = graph(parts, channels, ["main.report", "main.open"])
    document = json.loads(manifest.raw)
    document["filters"] = [
        {"name": "cleaned", "owner": "hospital-a", "component": "cleaner"},
        {"name": "rows", "owner": "hospital-a", "builtin": "max_rows", "parameters": {"format": "csv", "max_rows": 9}},
    ]
    next(each for each in document["outputs"] if each["name"] == "main-report")["filters"] = ["cleaned", "rows"]
    return parse_manifest(canonical_bytes(document)), parts


GRAPHS = {"diamond": _diamond, "composite": _composite, "filtered": _filtered}
DATA = {"table": b"what the table holds", "weights": b"what the weights hold"}


@cache
def _run(name: str) -> tuple[Manifest, Found]:
    """Run one of the graphs, once for all tests of this process."""
    manifest, parts = GRAPHS[name]()
    return manifest, watched(manifest, {name: part.wasm for name, part in parts.items()}, DATA, holds=True)


@pytest.mark.needs_root
@pytest.mark.parametrize("name", GRAPHS)
def test_the_channels_are_those_of_the_manifest(name: str) -> None:
    """Every file, window and call that is found in a live worker is an edge of the graph, and every edge is found."""
    manifest, found = _run(name)
    _is_the_graph(manifest, found)


@pytest.mark.needs_root
def test_the_demo_is_its_manifest(tmp_path: Path) -> None:
    """The demo's own components and data: what its workers can reach is what its manifest says, edge by edge."""
    demo = demo_folder()
    identities = {role.name: identity_of(party(role.name), tmp_path) for role in CAST}
    manifest = write_manifest(demo, identities, measurement=bytes(48), at=SystemClock().now())
    files = {name: path.read_bytes() for role in CAST for name, path in role.items(demo).items()}
    components = {each.name: files.pop(each.name) for each in manifest.components}
    _is_the_graph(manifest, watched(manifest, components, files, holds=False))


@pytest.mark.needs_root
@pytest.mark.parametrize("name", GRAPHS)
def test_a_running_worker_has_nothing_more(name: str) -> None:
    """In the middle of its run a worker has the mounts and files that it was shut in with, and its own descriptors."""
    _, found = _run(name)
    for worker in found.workers:
        ready, running = worker.seen.ready, worker.seen.running
        assert running is not None
        assert (running.mounts, running.root, running.inputs) == (ready.mounts, ready.root, ready.inputs)
        assert set(running.outputs) == {path for port in ready.outputs for path in (port, f"{port}/data")}
        assert running.shared == ()
        kinds = [each for each in running.opened.values() if isinstance(each, str)]
        assert set(kinds) <= {"null", "socket", "statm", "anon_inode", "in", "out"}
        assert (kinds.count("null"), kinds.count("socket"), kinds.count("statm")) == (3, 1, 1)
        assert _memory_files(running.opened) == _memory_files(ready.opened)


@pytest.mark.needs_root
@pytest.mark.parametrize("name", GRAPHS)
def test_the_linker_has_what_the_job_says(name: str) -> None:
    """No worker's linker answers calls between components, nor windows, but those of its own members."""
    _, found = _run(name)
    for worker in found.workers:
        job = worker.seen.job
        asks = {f"windows-{index}" for index, member in enumerate(job.members) if member.asks_windows}
        for index in range(3):
            assert answers(worker.seen, f"windows-{index}", "place") == (f"windows-{index}" in asks)
        for interface, function in NEVER:
            assert not answers(worker.seen, interface, function)
        assert answers(worker.seen, "wasi:filesystem/preopens@0.2.0", "get-directories")


@pytest.mark.needs_root
@pytest.mark.parametrize("name", GRAPHS)
def test_other_workers_have_no_data_but_what_they_filter(name: str) -> None:
    """Who admits and composes has components and no item; a built-in filter has one output and nothing else."""
    manifest, found = _run(name)
    digests = {component.sha256 for component in manifest.components}
    for seen in found.others:
        _has_the_walls(seen.ready.mounts, seen.ready.root, writable={"/out"})
        assert (seen.ready.inputs, seen.ready.outputs) == ({}, ())
        handed = {seen.job.component, *(member.component for member in seen.job.members)} - {-1}
        if seen.job.work is Work.FILTER:
            assert content(seen, seen.job.source) == b"1 from cleaner at filtered"
            handed.add(seen.job.source)
        else:
            assert {hashlib.sha256(content(seen, each)).digest() for each in handed} <= digests
        opened = {each for each, what in seen.ready.opened.items() if isinstance(what, bytes)}
        assert opened == handed | {seen.job.result}
        assert content(seen, seen.job.result) == b""
    assert any(seen.job.work is Work.FILTER for seen in found.others) == bool(manifest.filters)


def _is_the_graph(manifest: Manifest, found: Found) -> None:
    flow = Flow(manifest)
    expected = [*flow.nodes, *(node for chain in flow.filter_nodes.values() for node in chain)]
    channels = [*manifest.channels, *(channel for node in expected[len(flow.nodes) :] for channel in node.inputs)]
    assert found.channels == {f"{each.source} -> {each.target} {each.kind}" for each in channels}
    assert len(found.workers) == len(expected)
    for node, worker in zip(expected, found.workers, strict=True):
        _is_the_node(node, worker)


def _is_the_node(node: Node, worker: FoundWorker) -> None:
    seen = worker.seen
    assert set(worker.components) == {member.name for member in node.members}
    assert worker.ports == {str(port) for port in node.output_ports}
    assert set(seen.ready.outputs) == {port.port for port in node.output_ports}
    _has_the_walls(seen.ready.mounts, seen.ready.root, writable={"/out"})
    assert imports_of(seen) == _expected_imports(node, worker)
    # Its code and its windows, and no other item or component.
    windows = [descriptor for member in seen.job.members for _, descriptor, _ in member.windows]
    opened = {each for each, what in seen.ready.opened.items() if isinstance(what, bytes)}
    assert opened == {seen.job.component, *windows}
    kinds = [each for each in seen.ready.opened.values() if isinstance(each, str)]
    # `/out` itself is open for the moment in which it is handed to the supervisor.
    assert set(kinds) <= {"null", "socket", "statm", "out"}
    assert (kinds.count("null"), kinds.count("socket"), kinds.count("statm")) == (3, 1, 1)


def _expected_imports(node: Node, worker: FoundWorker) -> set[str]:
    answered = {channel.target.port for channel in node.calls}
    imports = {name for member in node.members for name in member.imports} - answered
    if len(node.members) == 1 or WINDOWS_INTERFACE not in imports:
        return imports
    asking = {member.name for member in node.members if WINDOWS_INTERFACE in member.imports}
    numbered = {f"windows-{index}" for index, name in enumerate(worker.components) if name in asking}
    return imports - {WINDOWS_INTERFACE} | numbered | {"mark"}


def _has_the_walls(mounts: Mapping[str, tuple[str, bool]], root: tuple[str, ...], *, writable: set[str]) -> None:
    assert {place: kind for place, (kind, _) in mounts.items()} == dict.fromkeys(("/", "/in", "/out"), "tmpfs")
    assert {place for place, (_, can) in mounts.items() if can} == writable
    assert root == ("in", "out")


def _memory_files(opened: Mapping[int, bytes | str]) -> dict[int, bytes]:
    return {descriptor: what for descriptor, what in opened.items() if isinstance(what, bytes)}
