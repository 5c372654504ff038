"""Windows: items laid over a component's own memory, and what a component that misuses them gets."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.actor import item, wat
from tests.support.bombs import RUN_OK
from tests.support.graphs import MEBIBYTE, GraphRan, Part, admitted, graph, run_admitted, run_graph
from tests.support.wat_calls import caller, number
from tests.support.wat_files import RUN, files
from tests.support.wat_windows import pure_reader, sum_of, window_reader

from twocvm_guest.runtime.admission import _WINDOWS
from twocvm_verifier.errors import ComponentError
from twocvm_verifier.manifest.profiles import WINDOWS_INTERFACE

PAGE = 1 << 16
SUM_ALL = "(call $sum (call $lay) (i32.mul (memory.size) (i32.const 65536)))"
READS = "test:windows/reads@1.0.0"


def read(body: str, content: bytes, *, core: str = "", **options: int) -> GraphRan:
    """Run one reader over a window that shows `content`."""
    parts = {"main": window_reader(body, core=core)}
    manifest = graph(parts, [("window", "table", "main.table")], ["main.report"], **options)
    return run_graph(manifest, parts, {"table": content})


@pytest.mark.parametrize("size", [0, 8, 4096, 4104, PAGE - 8, PAGE, PAGE + 8, 3 * MEBIBYTE])
def test_a_window_shows_the_item(size: int) -> None:
    """Every byte of the item is there, and zeros behind it up to the end of its last page."""
    content = os.urandom(size)
    ran = read(SUM_ALL, content, max_bytes=4 * MEBIBYTE)
    assert ran.failures == {}
    assert number(ran.outputs["main.report"]) == sum_of(content)


@pytest.mark.parametrize("size", [8, 4096, 4104])
def test_nothing_is_left_of_what_a_window_lies_over(size: int) -> None:
    """What a component had where it lays a window is gone, behind the item's end too."""
    spoilt = """(func $spoilt (result i64) (local $at i32)
        (local.set $at (call $room (i32.const 1)))
        (memory.fill (local.get $at) (i32.const 255) (i32.const 65536))
        (call $place (i32.const 80) (i32.const 5) (local.get $at))
        (call $sum (local.get $at) (i32.add (local.get $at) (i32.const 65536))))"""
    content = os.urandom(size)
    assert number(read("(call $spoilt)", content, core=spoilt).outputs["main.report"]) == sum_of(content)


def test_a_window_has_a_size() -> None:
    """The size of a window is the item's, before anything was laid anywhere."""
    ran = read("(call $size (i32.const 80) (i32.const 5))", b"12345")
    assert number(ran.outputs["main.report"]) == 5


def test_what_a_component_writes_to_a_window_is_its_own() -> None:
    """A component may fill a window; another reader of the item, and the same one that lays it anew, see the item."""
    content = bytes(range(1, 65)) * 4096
    spoil = f"""(block (result i64)
        (memory.fill (call $lay) (i32.const 0) (i32.const {len(content)}))
        (call $sum (call $lay) (i32.mul (memory.size) (i32.const 65536))))"""
    parts = {"main": window_reader(spoil), "after": window_reader(SUM_ALL)}
    channels = [("window", "table", f"{name}.table") for name in parts]
    with closing(item("table", content)) as table:
        runtime = admitted(manifest := graph(parts, channels, ["main.report", "after.report"]), parts)
        result = runtime.run({"table": table})
        sums = {name: number(each.open().read()) for name, each in result.outputs.items()}
        assert sums == {"main-report": sum_of(content), "after-report": sum_of(content)}
        assert table.open().read() == content
        for each in result.outputs.values():
            each.close()
        runtime.wipe()
    assert manifest.outputs


def test_a_window_shows_what_another_component_wrote() -> None:
    """The source of a window may be a port: its reader sees the bytes that the other left there."""
    content = bytes(range(64))
    data = "".join(f"\\{byte:02x}" for byte in content)
    writer = files(
        core=f'(data (i32.const 64) "table/data") (data (i32.const 1024) "{data}")',
        run="(call $write (i32.const 64) (i32.const 10) (i32.const 1024) (i32.const 64)) (i32.const 0)",
    )
    reader = window_reader(SUM_ALL)
    parts = {
        "writer": Part(wasm=writer, imports=reader.imports[1:], exports=(RUN,), entry=RUN, profile="files"),
        "main": reader,
    }
    ran = run_graph(graph(parts, [("window", "writer.table", "main.table")], ["main.report"]), parts, {})
    assert number(ran.outputs["main.report"]) == sum_of(content)


def test_a_member_without_files_reads_a_window() -> None:
    """Each member of a node has its own windows over its own memory, though all of them are one store."""
    left, right = os.urandom(PAGE), os.urandom(2 * PAGE)
    body = "(call $sum (call $lay) (i32.mul (memory.size) (i32.const 65536)))"
    other = "test:windows/others@1.0.0"
    main = caller(
        takes=dict.fromkeys((READS, other), '(export "read" (func (result u64)))'),
        lowered=f"""(core func $l (canon lower (func $"{READS}" "read")))
            (core func $r (canon lower (func $"{other}" "read")))""",
        given={"l": "(result i64)", "r": "(result i64)"},
        body="(i64.xor (call $l) (i64.rotl (call $r) (i64.const 1)))",
    )
    parts = {"main": main, "left": pure_reader(READS, body), "right": pure_reader(other, body)}
    channels = [
        ("call", f"left.{READS}", f"main.{READS}"),
        ("call", f"right.{other}", f"main.{other}"),
        ("window", "left-table", "left.table"),
        ("window", "right-table", "right.table"),
    ]
    manifest = graph(parts, channels, ["main.report"])
    ran = run_graph(manifest, parts, {"left-table": left, "right-table": right})
    turned = sum_of(right) << 1 & (1 << 64) - 1 | sum_of(right) >> 63
    # The text of a window port lies in page 0, which is not laid over, and the sums begin behind it.
    assert (ran.failures, number(ran.outputs["main.report"])) == ({}, sum_of(left) ^ turned)


def test_a_second_memory_of_the_same_component_is_not_guessed_at() -> None:
    """A component with two memories cannot say which it means, so its window is laid nowhere."""
    more = "(core module $more (memory 64)) (core instance (instantiate $more))"
    main = caller(
        takes={READS: '(export "read" (func (result u64)))'},
        lowered=f'(core func $l (canon lower (func $"{READS}" "read")))',
        given={"l": "(result i64)"},
        body="(call $l)",
    )
    parts = {"main": main, "left": pure_reader(READS, "(i64.extend_i32_u (call $lay))", memories=more)}
    channels = [("call", f"left.{READS}", f"main.{READS}"), ("window", "table", "left.table")]
    ran = run_graph(graph(parts, channels, ["main.report"]), parts, {"table": b"1"})
    assert ran.failures == {"main": "NODE_TRAPPED"}


PLACE = "(block (result i64) (call $place (i32.const 80) (i32.const 5) {address}) (i64.const 0))"


@pytest.mark.parametrize(
    "body",
    [
        PLACE.format(address="(i32.const 1)"),
        f"(block (result i64) (drop (call $room (i32.const 4))) {PLACE.format(address='(i32.const 4096)')})",
        PLACE.format(address="(i32.mul (memory.size) (i32.const 65536))"),
        PLACE.format(address="(i32.const 0xffff0000)"),
        PLACE.format(address="(i32.const -1)"),
        "(block (result i64) (call $place (i32.const 85) (i32.const 5) (i32.const 0)) (i64.const 0))",
        "(call $size (i32.const 85) (i32.const 5))",
        "(call $size (i32.const 0x7fffffff) (i32.const 5))",
        "(block (result i64) (call $place (i32.const 80) (i32.const -1) (i32.const 0)) (i64.const 0))",
    ],
)
def test_a_window_lies_where_it_may(body: str) -> None:
    """An address off the pages, outside the memory, or a port that is none traps, and nothing else happens."""
    assert read(body, b"12345").failures == {"main": "NODE_TRAPPED"}


def test_a_window_over_the_stack_hurts_only_its_component() -> None:
    """A component that lays a window over everything it has is a component with other bytes, and ends on its own."""
    content = bytes([0xFF]) * PAGE
    ran = read(PLACE.format(address="(i32.const 0)"), content)
    # Its own path was overwritten, so what it wanted to write has no place.
    assert set(ran.failures.values()) <= {"NODE_TRAPPED", "NODE_EXIT"}
    assert ran.failures


def test_memory_can_grow_behind_a_window() -> None:
    """Growing after a window was laid leaves the window where it is."""
    body = f"""(block (result i64) (local.set $at (call $lay)) (drop (memory.grow (i32.const 10)))
        (call $sum (local.get $at) (i32.add (local.get $at) (i32.const {PAGE}))))"""
    content = os.urandom(PAGE)
    ran = read("(call $go)", content, core=f"(func $go (result i64) (local $at i32) {body})")
    assert number(ran.outputs["main.report"]) == sum_of(content)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("(i64.extend_i32_u (i32.load (i32.const 0x7fffffff)))", "NODE_TRAPPED"),
        ("(block (result i64) (drop (call $room (i32.const 10000))) (unreachable))", "NODE_TRAPPED"),
        ("(call $hog)", "NODE_MEMORY"),
    ],
)
def test_limits_of_memory_hold_where_memories_are_made_here(body: str, code: str) -> None:
    """Loads outside trap, growth beyond the limit is refused, and all of it counts, as with the engine's memories."""
    hog = """(func $hog (result i64) (loop $l
        (if (i32.lt_s (call $room (i32.const 1)) (i32.const 0)) (then unreachable))
        (memory.fill (i32.const 1024) (i32.const 1)
            (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 1024)))
        (br $l)) (unreachable))"""
    assert read(body, b"12345678", core=hog, memory_bytes=8 * MEBIBYTE).failures == {"main": code}


def test_private_copies_of_pages_count_as_memory() -> None:
    """Laying one window over and over, and writing to it, does not take more than the memory it lies in."""
    body = """(call $go)"""
    go = f"""(func $go (result i64) (local $n i32) (local $at i32)
        (local.set $at (call $lay))
        (loop $l
          (call $place (i32.const 80) (i32.const 5) (local.get $at))
          (memory.fill (local.get $at) (local.get $n) (i32.const {4 * MEBIBYTE}))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $n) (i32.const 50))))
        (i64.load (local.get $at)))"""
    ran = read(body, bytes(4 * MEBIBYTE), core=go, max_bytes=4 * MEBIBYTE, memory_bytes=8 * MEBIBYTE)
    assert number(ran.outputs["main.report"]) == int.from_bytes(bytes([49]) * 8, "little")


@pytest.mark.parametrize(
    "kind",
    [
        '(instance (export "size" (func (param "port" string) (result u32))))',
        '(instance (export "place" (func (param "port" string) (param "address" u64))))',
        '(instance (export "other" (func)))',
        "(func)",
    ],
)
def test_windows_are_known_by_their_types(kind: str) -> None:
    """A component that imports windows with other functions or other types is refused at its admission."""
    part = Part(
        wasm=wat(f'(component (import "{WINDOWS_INTERFACE}" {kind}) {RUN_OK})'),
        imports=(WINDOWS_INTERFACE,),
        exports=(RUN,),
        entry=RUN,
        profile="files",
    )
    with pytest.raises(ComponentError) as caught:
        admitted(graph({"main": part}, [("window", "table", "main.table")], ["main.report"]), {"main": part})
    assert caught.value.code == "COMPONENT_TYPES"


def test_a_window_without_a_channel_is_no_window() -> None:
    """A component that imports windows where the manifest has none for it finds no port."""
    part = window_reader("(call $size (i32.const 80) (i32.const 5))")
    ran = run_graph(graph({"main": part}, [], ["main.report"]), {"main": part}, {})
    assert ran.failures == {"main": "NODE_TRAPPED"}


def test_a_windows_port_is_no_file() -> None:
    """What is shown in a window is not in `/in` as well."""
    body = "(i64.extend_i32_u (call $read (i32.const 128) (i32.const 10)))"
    parts = {"main": window_reader(body, core='(data (i32.const 128) "table/data")')}
    runtime = admitted(manifest := graph(parts, [("window", "table", "main.table")], ["main.report"]), parts)
    assert run_admitted(runtime, manifest, {"table": b"1"}).failures == {"main": "NODE_TRAPPED"}
    runtime.wipe()


def test_the_specification_has_the_types() -> None:
    """The interface that authors build against is the one that admission compares with."""
    text = (Path(__file__).parents[3] / "docs" / "spec" / "window.md").read_text()
    for name, kind in _WINDOWS.items():
        assert f"{name}: {kind};" in text
