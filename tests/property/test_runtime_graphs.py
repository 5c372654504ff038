"""Graphs of any shape run as the manifest says: each node sees exactly what its channels bring, and nothing else."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.graphs import Part, graph, run_graph
from tests.support.wat_files import FILES_IMPORTS, RUN, files

MAX_NODES = 4
ITEMS = ("x", "y")


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Nodes in any order, each with its sources: items, or nodes that were drawn before it."""
    count = draw(st.integers(min_value=1, max_value=MAX_NODES))
    names = [f"{letter}{index}" for index, letter in enumerate(draw(st.permutations("abcd"))[:count])]
    shape: dict[str, tuple[str, ...]] = {}
    for name in names:
        before = [*ITEMS, *shape]
        shape[name] = tuple(draw(st.lists(st.sampled_from(before), unique=True, max_size=len(before))))
    return shape


def gatherer(name: str, sources: tuple[str, ...]) -> bytes:
    """A component that writes its name and then, in brackets, all that it reads, in the order of `sources`."""
    text = b"".join(f"{source}/data".encode().ljust(16, b"\0") for source in sources).hex()
    escaped = "".join(f"\\{text[at : at + 2]}" for at in range(0, len(text), 2))
    reads = "".join(
        f"(call $append (call $read (i32.const {1024 + 16 * number}) (i32.const {len(source) + 5})))"
        for number, source in enumerate(sources)
    )
    return files(
        core=f"""(data (i32.const 64) "out/data{name}[]") (data (i32.const 1024) "{escaped}")
          (global $end (mut i32) (i32.const 8192))
          (func $append (param $size i32)
            (memory.copy (global.get $end) (global.get $at) (local.get $size))
            (global.set $end (i32.add (global.get $end) (local.get $size))))
          (func $put (param $at i32) (param $size i32)
            (global.set $at (local.get $at)) (call $append (local.get $size)))""",
        run=f"""(call $put (i32.const 72) (i32.const {len(name) + 1})) {reads}
          (call $put (i32.const {72 + len(name) + 1}) (i32.const 1))
          (call $write (i32.const 64) (i32.const 8) (i32.const 8192) (i32.sub (global.get $end) (i32.const 8192)))
          (i32.const 0)""",
    )


def told(name: str, shape: dict[str, tuple[str, ...]]) -> str:
    """What a node must write."""
    if name in ITEMS:
        return name.upper()
    return f"{name}[{''.join(told(source, shape) for source in shape[name])}]"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shape=shapes(), parallel=st.booleans())
def test_any_graph_without_cycles_runs_and_each_node_sees_its_inputs(
    shape: dict[str, tuple[str, ...]], *, parallel: bool
) -> None:
    """Whatever the shape, each node writes exactly what its own channels must have brought, and it all ends well."""
    parts = {
        name: Part(wasm=gatherer(name, sources), imports=FILES_IMPORTS, exports=(RUN,), entry=RUN, profile="files")
        for name, sources in shape.items()
    }
    channels = [
        ("file", source if source in ITEMS else f"{source}.out", f"{name}.{source}")
        for name, sources in shape.items()
        for source in sources
    ]
    outputs = [f"{name}.out" for name in shape]
    used = {source for sources in shape.values() for source in sources} & set(ITEMS)
    manifest = graph(parts, channels, outputs, parallel=parallel)
    ran = run_graph(manifest, parts, {name: name.upper().encode() for name in used})
    assert ran.failures == {}
    assert {port: content.decode() for port, content in ran.outputs.items()} == {
        f"{name}.out": told(name, shape) for name in shape
    }
