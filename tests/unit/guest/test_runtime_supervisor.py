"""Running a manifest's graph: order, several consumers, limits of channels, and what a caller may not do."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import pytest
from tests.support import processes
from tests.support.actor import ACTOR, ACTOR_IMPORTS, RUN, Stage, isolation, item, script, staged, wat
from tests.support.manifests import Document, World

from twocvm_guest.runtime import gate, run
from twocvm_guest.runtime.isolation import new_uid, worker_folder
from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.live import Live
from twocvm_guest.runtime.messages import Job, Outcome, Work
from twocvm_guest.runtime.node import NodeError, run_node
from twocvm_guest.runtime.process import Worker
from twocvm_guest.runtime.run import RunResult
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.errors import ComponentError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.graph import nodes

KIB = 1 << 10


def graph(scripts: Mapping[str, str], channels: list[tuple[str, str]], outputs: list[str], **rules: object) -> Manifest:
    """A manifest of actors: each has its script as an item, and `channels` join their ports."""

    def edit(document: Document) -> None:
        owner, other = (entry["name"] for entry in document["participants"])
        ports = {source for source, _ in channels} | set(outputs)
        document["components"] = [
            {
                "name": name,
                "owner": owner,
                "sha256": item(name, ACTOR).sha256.hex(),
                "profile": "files",
                "entry": RUN,
                "imports": list(ACTOR_IMPORTS),
                "exports": [RUN],
                "limits": {"memory_bytes": 64 * KIB * KIB, "wall_seconds": 20, "output_bytes": 64 * KIB * len(ports)},
            }
            for name in scripts
        ]
        document["data"] = [
            {"name": f"script-{name}", "owner": other, "media_type": "text/plain", "max_bytes": KIB} for name in scripts
        ]
        document["channels"] = [
            {"from": f"data:script-{name}", "to": f"component:{name}.script", "kind": "file", "max_bytes": KIB}
            for name in scripts
        ] + [
            {"from": f"component:{a}", "to": f"component:{b}", "kind": "file", "max_bytes": 64 * KIB}
            for a, b in channels
        ]
        document["outputs"] = [
            {"name": port.replace(".", "-"), "from": f"component:{port}", "recipients": [owner], "max_bytes": 64 * KIB}
            for port in outputs
        ]
        document["rules"] |= rules

    return World(participants=2, items=1, components=1, edit=edit).manifest


@contextmanager
def ran(manifest: Manifest, scripts: Mapping[str, str]) -> Iterator[RunResult]:
    """The result of running such a manifest."""
    runtime = Runtime(manifest, isolation=isolation())
    for component in manifest.components:
        with closing(item(component.name, ACTOR)) as own:
            runtime.admit(component, own)
    inputs = {f"script-{name}": item(name, text.encode()) for name, text in scripts.items()}
    result = runtime.run(inputs)
    yield result
    for each in (*inputs.values(), *result.outputs.values()):
        each.close()
    runtime.wipe()


DIAMOND = {
    "source": "write /out/left/data 100\nwrite /out/right/data 200",
    "a": "copy /in/source/data /out/result/data",
    "b": "copy /in/source/data /out/result/data",
    "sink": "copy /in/a/data /out/first/data\ncopy /in/b/data /out/second/data",
}
EDGES = [
    ("source.left", "a.source"),
    ("source.right", "b.source"),
    ("a.result", "sink.a"),
    ("b.result", "sink.b"),
    *((f"{name}.report", f"sink.report-of-{name}") for name in ("source", "a", "b")),
]


@pytest.mark.parametrize("parallel", [False, True])
def test_a_diamond_runs_in_order(*, parallel: bool) -> None:
    """Each node runs after those it reads from, and every byte comes through, one at a time or side by side."""
    manifest = graph(DIAMOND, EDGES, ["sink.first", "sink.second", "sink.report"], parallel=parallel)
    with ran(manifest, DIAMOND) as result:
        assert (result.completed, dict(result.failures)) == (True, {})
        sizes = {name: each.size_bytes for name, each in result.outputs.items()}
        assert (sizes["sink-first"], sizes["sink-second"]) == (100, 200)


@pytest.mark.parametrize("parallel", [False, True])
def test_one_failing_node_ends_the_run(*, parallel: bool) -> None:
    """When one node fails, no output is served, only its code is known, and nodes behind it never start."""
    scripts = DIAMOND | {"a": "trap"}
    manifest = graph(scripts, EDGES, ["sink.first", "sink.second", "sink.report"], parallel=parallel)
    with ran(manifest, scripts) as result:
        assert (result.completed, dict(result.outputs), dict(result.failures)) == (False, {}, {"a": "NODE_TRAPPED"})


def test_a_failure_ends_nodes_that_run_beside_it() -> None:
    """In a parallel run the first failure kills what still runs, at once."""
    scripts = {"endless": "loop", "broken": "trap"}
    manifest = graph(scripts, [], ["endless.report", "broken.report"], parallel=True)
    began = time.monotonic()
    with ran(manifest, scripts) as result:
        assert dict(result.failures) == {"broken": "NODE_TRAPPED"}
    assert time.monotonic() - began < 15


def test_one_port_has_many_readers() -> None:
    """A port read by two components and served as two outputs gives each its own copy."""
    reader = "copy /in/table/data /out/copy/data"
    scripts = {"source": "write /out/table/data 5000", "a": reader, "b": reader}
    edges = [("source.table", "a.table"), ("source.table", "b.table")]
    outputs = ["source.table", "source.report", "a.copy", "a.report", "b.copy", "b.report"]
    with ran(graph(scripts, edges, outputs), scripts) as result:
        assert {result.outputs[name].size_bytes for name in ("source-table", "a-copy", "b-copy")} == {5000}
        result.outputs["source-table"].close()
        assert result.outputs["a-copy"].open().read(1) == b"\0"


def test_the_smallest_limit_on_a_port_counts() -> None:
    """Where a port goes to a channel and to an output with different limits, the smaller one holds."""
    manifest = graph({"source": ""}, [], ["source.report"])
    runtime = Runtime(manifest, isolation=isolation())
    output = dataclasses.replace(manifest.outputs[0], max_bytes=5)
    smaller = dataclasses.replace(manifest, outputs=(output, dataclasses.replace(output, name="more", max_bytes=99)))
    runtime = Runtime(smaller, isolation=isolation())
    with closing(item("source", ACTOR)) as own:
        runtime.admit(manifest.component("source"), own)
    with closing(item("script", b"")) as own:
        assert dict(runtime.run({"script-source": own}).failures) == {"source": "OUTPUT_TOO_LARGE"}
    runtime.wipe()


def test_an_item_over_its_channels_limit_is_not_carried() -> None:
    """An item that a channel may not carry fails the node that would read it, and does not reach it."""
    manifest = graph({"source": ""}, [], ["source.report"])
    channel = dataclasses.replace(manifest.channels[0], max_bytes=3)
    runtime = Runtime(dataclasses.replace(manifest, channels=(channel,)), isolation=isolation())
    with closing(item("source", ACTOR)) as own:
        runtime.admit(manifest.component("source"), own)
    with closing(item("script", b"list")) as own:
        assert dict(runtime.run({"script-source": own}).failures) == {"source": "ITEM_TOO_LARGE"}
    runtime.wipe()


def test_a_run_happens_once() -> None:
    """A second run, a run without a component and a run without an item are mistakes of the caller."""
    stage = Stage(inputs=script("list /in"))
    runtime = Runtime(stage.manifest, isolation=isolation())
    with pytest.raises(RuntimeError, match="actor"):
        runtime.run({"item-script": item("script", b"")})
    runtime.wipe()
    runtime = staged(stage)
    with pytest.raises(RuntimeError, match="item-script"):
        runtime.run({})
    with closing(item("script", b"")) as own:
        runtime.run({"item-script": own})
        with pytest.raises(RuntimeError, match="one run"):
            runtime.run({"item-script": own})
    runtime.wipe()


def test_after_a_wipe_nothing_starts() -> None:
    """A wiped runtime admits nothing and runs nothing."""
    stage = Stage(inputs=script("list /in"))
    runtime = staged(stage)
    runtime.wipe()
    with closing(item("actor", ACTOR)) as own, pytest.raises(ComponentError) as caught:
        runtime.admit(stage.manifest.component("actor"), own)
    assert caught.value.code == "RUN_WIPED"
    with closing(item("script", b"")) as own:
        result = runtime.run({"item-script": own})
    assert (result.completed, dict(result.outputs)) == (False, {})


def test_items_that_are_gone_are_a_run_that_was_wiped() -> None:
    """Where the caller's items were closed before the run took hold of them, nothing runs and nothing is served."""
    runtime = staged(Stage(inputs=script("list /in")))
    gone = item("script", b"list /in")
    gone.close()
    result = runtime.run({"item-script": gone})
    assert (result.completed, dict(result.outputs), dict(result.failures)) == (False, {}, {})
    runtime.wipe()


def test_a_component_may_be_admitted_again() -> None:
    """Admitting a component a second time replaces its compiled form; the run uses one of them."""
    stage = Stage(inputs=script("list /in"))
    runtime = staged(stage)
    with closing(item("actor", ACTOR)) as own:
        runtime.admit(stage.manifest.component("actor"), own)
    with closing(item("script", b"list /in")) as own:
        result = runtime.run({"item-script": own})
    assert result.completed
    runtime.wipe()


def test_components_are_admitted_side_by_side() -> None:
    """Admissions from many threads at once all succeed."""
    scripts = {f"node-{index}": "" for index in range(6)}
    manifest = graph(scripts, [], [f"{name}.report" for name in scripts])
    runtime = Runtime(manifest, isolation=isolation())
    failed: list[Exception] = []

    def admit(name: str) -> None:
        try:
            with closing(item(name, ACTOR)) as own:
                runtime.admit(manifest.component(name), own)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
            failed.append(error)

    threads = [threading.Thread(target=admit, args=(name,), daemon=True) for name in scripts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    runtime.wipe()


def test_the_supervisor_has_no_engine() -> None:
    """The process that admits and runs components never even imports the engine, so it can compile and load nothing."""
    code = "import sys, twocvm_guest.runtime.supervisor; print('wasmtime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


def test_a_worker_is_made_ready_while_another_works() -> None:
    """At most one process waits for the next job; it is taken, or dismissed, or ended with all others."""
    live, before = Live(), len(processes.descendants())
    live.prepare()
    live.prepare()
    assert len(processes.descendants()) == before + 1
    with live.start() as worker:
        assert len(processes.descendants()) == before + 1
        live.dismiss()
        worker.kill()
    live.prepare()
    live.dismiss()
    live.prepare()
    live.end()
    processes.wait_until(lambda: len(processes.descendants()) == before)
    live.dismiss()
    live.prepare()
    assert len(processes.descendants()) == before


def test_a_worker_is_handed_a_job_of_any_size() -> None:
    """More bytes and descriptors than the kernel passes at once arrive, the descriptors under the numbers they have."""
    with open(os.devnull, "rb") as source:
        descriptors = tuple(os.dup(source.fileno()) for _ in range(600))
    uid = new_uid()
    try:
        with worker_folder(isolation(), uid) as scratch, Worker() as worker:
            limits = {"file_bytes": KIB * KIB, "cpu_seconds": 10}
            names = tuple(f"{number:064}" for number in range(8000))
            worker.shut_in(Job(work=Work.PROBE, uid=uid, scratch=scratch, keep=descriptors, exports=names, **limits))
            assert worker.go_on(seconds=10) is Outcome.DONE
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor runs one node at a time")
def test_independent_nodes_overlap_where_the_manifest_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes that do not read from each other are both under way at one moment, and both end well."""
    meeting = threading.Barrier(2, timeout=60)

    def meet(*arguments: Any, **options: Any) -> dict[str, Item]:
        meeting.wait()
        return run_node(*arguments, **options)

    monkeypatch.setattr(run, "run_node", meet)
    scripts = {"left": "list /in", "right": "list /in"}
    manifest = graph(scripts, [], ["left.report", "right.report"], parallel=True)
    with ran(manifest, scripts) as result:
        assert result.completed


def test_independent_nodes_wait_for_each_other_where_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `parallel` no node begins while another is under way."""
    under_way = threading.Semaphore(1)

    def alone(*arguments: Any, **options: Any) -> dict[str, Item]:
        assert under_way.acquire(blocking=False)
        try:
            return run_node(*arguments, **options)
        finally:
            under_way.release()

    monkeypatch.setattr(run, "run_node", alone)
    scripts = {"left": "list /in", "right": "list /in"}
    with ran(graph(scripts, [], ["left.report", "right.report"]), scripts) as result:
        assert result.completed


def test_a_pure_component_runs_without_wasi() -> None:
    """A component of the profile `pure` has no files and no WASI, and its entry is a function of its own."""
    pure = wat("""(component
        (core module $main (func (export "go")))
        (core instance $i (instantiate $main))
        (func (export "go") (canon lift (core func $i "go"))))""")

    def edit(document: Document) -> None:
        first = document["components"][0]
        limits = {"memory_bytes": KIB * KIB, "wall_seconds": 5, "output_bytes": 1}
        document["components"].append(
            {"name": "pure", "owner": first["owner"], "sha256": item("pure", pure).sha256.hex(), "profile": "pure"}
            | {"entry": "go", "exports": ["go"], "limits": limits}
        )

    manifest = World(participants=2, items=1, components=1, edit=edit).manifest
    runtime = Runtime(manifest, isolation=isolation())
    with closing(item("pure", pure)) as own:
        runtime.admit(manifest.component("pure"), own)
    node = next(node for node in nodes(manifest) if node.name == "pure")
    with (
        closing(item("pure", pure)) as own,
        closing(gate.admit(node.entry, own, live=Live(), isolation=isolation())) as compiled,
    ):
        written = run_node(
            node,
            compiled=compiled,
            inputs={},
            ports={},
            rules=manifest.rules,
            live=Live(),
            isolation=isolation(),
            witness=(),
        )
    assert written == {}
    runtime.wipe()


def test_a_compiled_form_that_is_none_is_our_own_fault() -> None:
    """A node whose compiled form the engine does not take fails as a fault of the runtime, with its own code."""
    node = nodes(Stage(inputs=script("list /in")).manifest)[0]
    target = node.inputs[0].target
    with closing(item("actor", b"not compiled")) as broken, pytest.raises(NodeError) as caught:
        run_node(
            node,
            compiled=broken,
            inputs={target: broken},
            ports={"report": 10},
            rules=Stage().manifest.rules,
            live=Live(),
            isolation=isolation(),
            witness=(),
        )
    assert caught.value.code == "NODE_INTERNAL"
