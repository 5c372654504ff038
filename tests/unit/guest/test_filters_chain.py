"""Filters in their workers: one after another, a fresh worker for each, nothing left where one refuses."""

from __future__ import annotations

import copy
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import MappingProxyType

import pytest
from tests.support.actor import COMPONENTS, RUN, Stage, isolation, item, script
from tests.support.filters import in_worker, kind_of
from tests.support.manifests import Document, World, builtin, noise
from tests.support.memory_files import MemoryFiles
from tests.support.processes import descendants, wait_until

from twocvm_guest.filters.chain import Chain, require_filters
from twocvm_guest.runtime import gate
from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.live import Live
from twocvm_guest.runtime.node import NodeError
from twocvm_guest.runtime.run import RunResult
from twocvm_guest.runtime.supervisor import Runtime
from twocvm_verifier.errors import UnsupportedError
from twocvm_verifier.manifest import Manifest
from twocvm_verifier.manifest.graph import Flow

FILTER = (COMPONENTS / "filter.wasm").read_bytes()
IMPORTS = (
    *("cli/exit", "cli/stderr", "cli/stdin", "cli/stdout", "cli/terminal-input", "cli/terminal-output"),
    *("cli/terminal-stderr", "cli/terminal-stdin", "cli/terminal-stdout", "clocks/wall-clock"),
    *("filesystem/preopens", "filesystem/types", "io/error", "io/streams", "random/random"),
)
CAPITALS = {"name": "capitals", "owner": "hospital-a", "component": "cleaner"}
ROWS = builtin("rows", "max_rows", format="csv", max_rows=2)
PADDED = builtin("padded", "padding", sizes=[64, 4096])
SMALL = builtin("small", "max_bytes", max_bytes=10)


def manifest_of(
    filters: Sequence[Document],
    uses: Mapping[str, Sequence[str]],
    *,
    rules: Mapping[str, object] = MappingProxyType({}),
    **limits: int,
) -> Manifest:
    """Return a manifest with the outputs `model` and `evaluation`, and with `cleaner`, a component that filters."""

    def edit(document: Document) -> None:
        document["filters"] = [*filters]
        document["rules"] |= rules
        for output in document["outputs"]:
            if output["name"] in uses:
                output["filters"] = list(uses[output["name"]])
        if any("component" in each for each in filters):
            cleaner = cleaner_of(document["components"][0])
            cleaner["limits"] = document["components"][0]["limits"] | {"wall_seconds": 2} | limits
            document["components"].append(cleaner)

    return World(edit=edit).manifest


def cleaner_of(component: Document) -> Document:
    """Return the component that filters, with everything else as another component has it."""
    return copy.deepcopy(component) | {
        "name": "cleaner",
        "sha256": hashlib.sha256(FILTER).hexdigest(),
        "entry": RUN,
        "imports": [f"wasi:{name}@0.2.0" for name in IMPORTS],
        "exports": [RUN],
    }


@contextmanager
def filtered(
    manifest: Manifest, live: Live | None = None, admitted: Callable[[], object] = bool, **outputs: bytes
) -> Iterator[RunResult]:
    """Return what becomes of outputs, each given by name; `evaluation` is one letter unless it is given."""
    live = live or Live()
    items = {name: item(name, content) for name, content in ({"evaluation": b"e"} | outputs).items()}
    compiled: dict[str, Item] = {}
    for component in manifest.components:
        if component.name == "cleaner":
            with closing(item("cleaner", FILTER)) as own:
                compiled["cleaner"] = gate.admit(component, own, calls=(), live=live, isolation=isolation())
    chain = Chain(manifest, Flow(manifest), compiled, live=live, isolation=isolation(), witness=lambda _: ())
    admitted()
    result = chain.all(items)
    try:
        yield result
    finally:
        for each in (*items.values(), *compiled.values(), *result.outputs.values()):
            each.close()


def contents(result: RunResult) -> dict[str, bytes]:
    """Return what the outputs hold."""
    return {name: each.open().read() for name, each in result.outputs.items()}


def test_filters_are_applied_in_their_order() -> None:
    """Each filter has what the one before it left; an output without filters is what it was."""
    manifest = manifest_of([CAPITALS, ROWS, PADDED], {"model": ["rows", "capitals", "padded"]})
    with filtered(manifest, model=b'"a"\r\n1') as result:
        assert result.completed
        assert contents(result) == {"model": b"A\n1\n\x80".ljust(64, b"\0"), "evaluation": b"e"}
        for name, content in contents(result).items():
            assert result.outputs[name].sha256 == hashlib.sha256(content).digest()
            assert (result.outputs[name].name, result.outputs[name].size_bytes) == (name, len(content))


def test_the_first_refusal_ends_it() -> None:
    """One output that is refused holds back all of them, also those that were filtered before; nothing is left."""
    manifest = manifest_of([SMALL, ROWS], {"evaluation": ["small"], "model": ["small", "rows"]})
    before = MemoryFiles()
    with filtered(manifest, model=b"n\n1\n2\n3\n") as result:
        assert (result.completed, dict(result.outputs)) == (False, {})
        assert dict(result.failures) == {"model/rows": "FILTER_ROWS"}
    with filtered(manifest, model=b"12345678901") as result:
        assert dict(result.failures) == {"model/small": "FILTER_TOO_LARGE"}
    assert before.names() == []
    assert descendants() == []


def test_an_output_is_no_longer_than_it_may_be() -> None:
    """What is longer than the manifest's limit does not even come to the filters."""
    with filtered(manifest_of([SMALL], {}), model=bytes(4097)) as result:
        assert dict(result.failures) == {"step-1": "OUTPUT_TOO_LARGE"}


def test_a_component_sees_one_output_alone() -> None:
    """A component that filters is given one port to read and one to write, and nothing of another output."""
    manifest = manifest_of([CAPITALS], {"model": ["capitals"], "evaluation": ["capitals"]})
    with filtered(manifest, model=b"look", evaluation=b"one") as result:
        assert contents(result)["evaluation"] == b"ONE"
        assert set(contents(result)["model"].decode().split()) == {
            "/in/unfiltered",
            "/in/unfiltered/data",
            "/out/filtered",
            "/out/filtered/data",
        }


@pytest.mark.parametrize("rules", [{}, {"seed": "06" * 32}])
def test_a_component_has_its_own_random_numbers_for_each_output(rules: Mapping[str, object]) -> None:
    """Two outputs through one component share neither memory nor random numbers, also where the seed is fixed."""
    manifest = manifest_of([CAPITALS], {"model": ["capitals"], "evaluation": ["capitals"]}, rules=rules)
    with filtered(manifest, model=b"random", evaluation=b"random") as result:
        first, second = contents(result).values()
        assert (len(first), len(second)) == (16, 16)
        assert first != second


FAILURES = {
    "an error": (b"refuse", "NODE_EXIT"),
    "no end": (b"loop", "NODE_TIME"),
    "no output": (b"nothing", "OUTPUT_MISSING"),
    "too much": (b"grow", "OUTPUT_TOO_LARGE"),
}


@pytest.mark.parametrize(("output", "code"), FAILURES.values(), ids=FAILURES.keys())
def test_components_that_fail(output: bytes, code: str) -> None:
    """However a component that filters ends badly, its output is refused with the code of a node."""
    with filtered(manifest_of([CAPITALS], {"model": ["capitals"]}, output_bytes=4096), model=output) as result:
        assert dict(result.failures) == {"model/capitals": code}


def test_a_wipe_ends_a_filter() -> None:
    """What is filtered when the session ends is gone at once, and no filter has failed."""
    live = Live()
    manifest = manifest_of([CAPITALS], {"model": ["capitals"]}, wall_seconds=60)
    results: list[RunResult] = []
    admitted = threading.Event()

    def work() -> None:
        with filtered(manifest, live, admitted.set, model=b"loop") as result:
            results.append(result)

    thread = threading.Thread(target=work)
    thread.start()
    # Admission's worker has ended, and another one has been at work for longer than a start takes.
    wait_until(lambda: admitted.is_set() and descendants())
    time.sleep(0.5)
    began = time.monotonic()
    live.end()
    thread.join(10)
    assert time.monotonic() - began < 5
    assert (results[0].completed, dict(results[0].failures)) == (False, {})
    assert descendants() == []


def test_a_closed_output_is_a_wipe() -> None:
    """Where the outputs were closed before they were filtered, the session has ended."""
    manifest = manifest_of([SMALL], {"model": ["small"]})
    closed = item("model", b"m")
    closed.close()
    chain = Chain(manifest, Flow(manifest), {}, live=Live(), isolation=isolation(), witness=lambda _: ())
    result = chain.all({"model": closed, "evaluation": closed})
    assert (result.completed, dict(result.failures)) == (False, {})


def test_faults_of_ours_are_not_passed_over() -> None:
    """An output that is not there is a mistake of the caller, and nothing is let through for it."""
    manifest = manifest_of([SMALL], {"model": ["small"]})
    chain = Chain(manifest, Flow(manifest), {}, live=Live(), isolation=isolation(), witness=lambda _: ())
    before = MemoryFiles()
    with closing(item("evaluation", b"e")) as only, pytest.raises(KeyError):
        chain.all({"evaluation": only})
    assert before.names() == []


def test_a_runtime_runs_and_then_filters() -> None:
    """A runtime admits the component that filters, runs the graph without it, and has it filter what came out."""
    stage = Stage(inputs=script("write /out/more/data 3"), ports={"report": 100_000, "more": 3})

    def edit(document: Document) -> None:
        document |= json.loads(stage.manifest.raw)
        document["filters"] = [CAPITALS | {"owner": document["participants"][0]["name"]}]
        document["outputs"][1]["filters"] = ["capitals"]
        assert document["outputs"][1]["name"] == "output-report"
        document["components"].append(cleaner_of(document["components"][0]))
        document["components"][1]["limits"]["output_bytes"] = 100_000

    manifest = World(participants=2, items=1, components=1, edit=edit).manifest
    runtime = Runtime(manifest, isolation=isolation())
    try:
        for name, content in (("actor", stage.wasm), ("cleaner", FILTER)):
            with closing(item(name, content)) as own:
                runtime.admit(manifest.component(name), own)
        with closing(item("item-script", stage.inputs["script"])) as given:
            ran = runtime.run({"item-script": given})
        assert (ran.completed, set(ran.outputs)) == (True, {"output-report", "output-more"})
        passed = runtime.filter(ran.outputs)
        assert passed.completed
        before, after = contents(ran), contents(passed)
        assert after == {"output-report": before["output-report"].upper(), "output-more": before["output-more"]}
        assert before["output-report"] != after["output-report"]
        for each in (*ran.outputs.values(), *passed.outputs.values()):
            each.close()
    finally:
        runtime.wipe()
    # Once everything was wiped there is nothing to filter any more, and nothing that failed.
    with closing(item("output-report", b"r")) as report, closing(item("output-more", b"m")) as more:
        late = runtime.filter({"output-report": report, "output-more": more})
        assert (late.completed, dict(late.failures)) == (False, {})


KINDS = {
    "max_bytes": ({"max_bytes": 9}, b"abc", b"abc"),
    "max_rows": ({"format": "json-lines", "max_rows": 9}, b"[ ]\n", b"[]\n"),
    "json_schema": ({"format": "json", "schema": {"pattern": "^[a-z]+$"}}, b'"a"', b'"a"'),
    "min_group_size": ({"format": "csv", "columns": ["n"], "minimum": 2}, b"n\n2", b"n\n2\n"),
    "rounding": ({"format": "json", "pointers": ["/n"], "step": "0.5"}, b'{"n":1.3}', b'{"n":1.5}'),
    "padding": ({"sizes": [4]}, b"abc", b"abc\x80"),
}


@pytest.mark.parametrize(("name", "case"), KINDS.items(), ids=KINDS)
def test_every_builtin_works_in_a_worker(name: str, case: tuple[dict[str, object], bytes, bytes]) -> None:
    """Every built-in has all that it needs when its worker has shut itself in."""
    parameters, output, left = case
    assert in_worker(kind_of(name, **parameters), output) == left


@pytest.mark.parametrize("changes", [{}, {"mechanism": "gaussian", "delta": "0.000001"}])
def test_noise_works_in_a_worker(changes: Mapping[str, object]) -> None:
    """Both mechanisms draw in a worker that has shut itself in, from the kernel, and never the same twice."""
    kind = kind_of("noise", **(noise(**changes)["parameters"]))
    output = b"n\n" + b"500\n" * 50
    first, second = in_worker(kind, output), in_worker(kind, output)
    assert first != second
    assert len(first.splitlines()) == 51


REFUSALS = {
    "FILTER_MALFORMED": ("max_rows", {"format": "csv", "max_rows": 9}, b"\xff"),
    "FILTER_ROWS": ("max_rows", {"format": "csv", "max_rows": 1}, b"n\n1\n2\n"),
    "FILTER_SCHEMA": ("json_schema", {"format": "json", "schema": {"type": "null"}}, b"1"),
    "FILTER_GROUP": ("min_group_size", {"format": "csv", "columns": ["n"], "minimum": 2}, b"n\n1"),
    "FILTER_VALUE": ("rounding", {"format": "csv", "columns": ["m"], "step": "1"}, b"n\n1"),
    "FILTER_TOO_LARGE": ("padding", {"sizes": [4]}, b"abcd"),
}


@pytest.mark.parametrize(("code", "case"), REFUSALS.items(), ids=REFUSALS)
def test_workers_say_why(code: str, case: tuple[str, dict[str, object], bytes]) -> None:
    """Each refusal of a built-in comes out of its worker as its code, and leaves nothing."""
    name, parameters, output = case
    before = MemoryFiles()
    with pytest.raises(NodeError) as refusal:
        in_worker(kind_of(name, **parameters), output)
    assert refusal.value.code == code
    assert before.names() == []


def test_a_filter_leaves_no_more_than_the_output_may_have() -> None:
    """A filter whose result is longer than the manifest allows is refused in the worker."""
    with pytest.raises(NodeError) as refusal:
        in_worker(kind_of("rounding", format="csv", columns=["n"], step="0.001"), b"n\n1\n", max_bytes=7)
    assert refusal.value.code == "FILTER_TOO_LARGE"


def test_memory_is_bounded() -> None:
    """A document that takes more memory than a filter has is refused, and the supervisor takes no part in it."""
    kind = kind_of("json_schema", format="json", schema={"type": "array"})
    with pytest.raises(NodeError) as refusal:
        in_worker(kind, b"[" + b"[]," * 200_000 + b"0]", memory_bytes=4 << 20)
    # Which of the two depends on who is refused the memory: Python says so, a library ends its process.
    assert refusal.value.code in {"FILTER_RESOURCES", "NODE_DIED"}


def test_time_is_bounded() -> None:
    """A filter that takes longer than it may is ended."""
    with pytest.raises(NodeError) as refusal:
        in_worker(kind_of("rounding", format="csv", columns=["n"], step="1"), b"n\n" + b"1\n" * 200_000, seconds=0)
    assert refusal.value.code == "FILTER_RESOURCES"


def test_noise_needs_its_extra() -> None:
    """A guest without the library refuses a manifest with noise before it is locked, and no other."""
    with pytest.raises(UnsupportedError) as refusal:
        require_filters(manifest_of([noise()], {}), has=lambda _: None)
    assert (refusal.value.code, refusal.value.exit_status) == ("UNSUPPORTED_FILTER", 20)
    assert "twocvm[noise]" in str(refusal.value)
    require_filters(manifest_of([noise()], {}))
    require_filters(manifest_of([ROWS, PADDED], {}), has=lambda _: None)
