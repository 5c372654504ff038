"""What crosses a channel, and how fast: files, calls, windows; and what a chain of nodes and a large item cost.

Speeds are differences of two runs of one component, a long and a short one, so that starting a worker is not counted;
the start is measured by itself. They are of the workers' processor time, the least of some rounds: whatever else the
machine does can only add to it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.ratio import Ratio, seconds
from tests.support.actor import ACTOR, ACTOR_IMPORTS, MEBIBYTE, item
from tests.support.graphs import Part, admitted, graph
from tests.support.wat_calls import adder, caller, calls_adder, list_taker, runs_another
from tests.support.wat_files import FILES_IMPORTS, RUN, files
from tests.support.wat_windows import window_reader
from wasmtime import Store, WasiConfig
from wasmtime.component import Component, Linker

from twocvm_guest.demo.files import demo_folder
from twocvm_guest.runtime.compose import compose
from twocvm_guest.runtime.engine import make_engine
from twocvm_guest.runtime.items import Item, ItemWriter
from twocvm_guest.runtime.messages import Member
from twocvm_verifier.manifest import Manifest

ROUNDS: Final = 5
GIGA: Final = 1e9
CALLS: Final = 50_000_000
LIST_BYTES: Final = 8 * MEBIBYTE
LISTS: Final = 400
BULK_BYTES: Final = 512 * MEBIBYTE
CHAIN: Final = 10
LARGE_BYTES: Final = 1 << 30

MOST_NANOSECONDS_A_CALL: Final = 20.0
LEAST_LIST_GIGABYTES: Final = 5.0
LEAST_WINDOW_GIGABYTES: Final = 5.0
LEAST_FILE_GIGABYTES: Final = 1.0
MOST_OF_COMPILING: Final = 0.01
MOST_CHAIN_SECONDS: Final = 1.0
MOST_GROWTH_MIB: Final = 32.0


def run() -> Iterator[Ratio]:
    """Measure each."""
    yield Ratio(name="one call between components [ns]", value=_call_nanoseconds(), at_most=MOST_NANOSECONDS_A_CALL)
    yield Ratio(name="list<u64> between components [GB/s]", value=_list_speed(), at_least=LEAST_LIST_GIGABYTES)
    speed, native = _window_speed()
    yield Ratio(name="window, laid and read through [GB/s]", value=speed, at_least=LEAST_WINDOW_GIGABYTES)
    yield Ratio(name="window / copying the same natively", value=speed / native, detail=f"memcpy {native:.1f} GB/s")
    reading, handing = _file_speeds()
    yield Ratio(name="file, read through [GB/s]", value=reading, at_least=LEAST_FILE_GIGABYTES)
    yield Ratio(name="file, copied for its reader [GB/s]", value=handing)
    yield Ratio(name="starting a composition / compiling it", value=_warm_start(), at_most=MOST_OF_COMPILING)
    yield Ratio(name="ten components in a chain [s]", value=_chain_seconds(), at_most=MOST_CHAIN_SECONDS)
    yield Ratio(
        name="growth of the supervisor over a 1 GiB item [MiB]",
        value=_growth_mib(),
        at_most=MOST_GROWTH_MIB,
        detail="two nodes, one output",
    )


def _call_nanoseconds() -> float:
    def main(count: int) -> tuple[Manifest, dict[str, Part]]:
        many = f"""(func $many (result i64) (local $n i64) (loop $l
            (local.set $n (call $add (local.get $n) (i64.const 1)))
            (br_if $l (i64.lt_u (local.get $n) (i64.const {count})))) (local.get $n))"""
        part = calls_adder("(call $many)", core=many)
        channel = ("call", f"adder.{part.imports[0]}", f"main.{part.imports[0]}")
        parts = {"main": part, "adder": adder()}
        return graph(parts, [channel], ["main.report"]), parts

    return _difference(main(CALLS), main(1), {}) / CALLS * GIGA


def _list_speed() -> float:
    taker = list_taker(LIST_BYTES)
    interface = taker.exports[0]

    def main(count: int) -> tuple[Manifest, dict[str, Part]]:
        part = caller(
            takes={interface: '(export "take" (func (param "values" (list u64)) (result u64)))'},
            lowered=f'(core func $take (canon lower (func $"{interface}" "take") (memory $mem)))',
            given={"take": "(param i32 i32) (result i64)"},
            core=f"""(func $many (result i64) (local $n i32) (local $at i32) (local $last i64)
                (local.set $at (call $room (i32.const {LIST_BYTES >> 16})))
                (memory.fill (local.get $at) (i32.const 1) (i32.const {LIST_BYTES}))
                (loop $l
                  (local.set $last (call $take (local.get $at) (i32.const {LIST_BYTES >> 3})))
                  (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))
                (local.get $last))""",
            body="(call $many)",
        )
        parts = {"main": part, "taker": taker}
        return graph(parts, [("call", f"taker.{interface}", f"main.{interface}")], ["main.report"]), parts

    return LIST_BYTES * (LISTS - 1) / _difference(main(LISTS), main(1), {}) / GIGA


def _window_speed() -> tuple[float, float]:
    reader = window_reader("(call $sum (call $lay) (i32.mul (memory.size) (i32.const 65536)))")
    parts = {"main": reader}
    room = BULK_BYTES + 2 * MEBIBYTE
    manifest = graph(
        parts, [("window", "table", "main.table")], ["main.report"], max_bytes=BULK_BYTES, memory_bytes=room
    )
    content = bytes(BULK_BYTES)
    took = _between((manifest, parts), content, content[:MEBIBYTE])
    target = ctypes.create_string_buffer(BULK_BYTES)
    native = min(_own_seconds(lambda: ctypes.memmove(target, content, BULK_BYTES)) for _ in range(ROUNDS))
    return (BULK_BYTES - MEBIBYTE) / took / GIGA, BULK_BYTES / native / GIGA


def _file_speeds() -> tuple[float, float]:
    """How fast a component reads a file, and how fast its copy was made before it began."""

    def main(passes: int) -> tuple[Manifest, dict[str, Part]]:
        wasm = files(
            core=f"""(data (i32.const 64) "report/data") (data (i32.const 80) "table/data")
              (func $all (param $file i32) (result i64) (local $offset i64) (local $got i64)
                (loop $chunk
                  (call $heap-to (i32.const 65536))
                  (call $read-at (local.get $file) (i64.const {MEBIBYTE}) (local.get $offset) (i32.const 16))
                  (local.set $got (i64.extend_i32_u (i32.load (i32.const 24))))
                  (local.set $offset (i64.add (local.get $offset) (local.get $got)))
                  (br_if $chunk (i64.ne (local.get $got) (i64.const 0))))
                (local.get $offset))""",
            run=f"""(local $file i32) (local $n i32)
                (local.set $file (call $open (i32.const 0) (i32.const 80) (i32.const 10) (i32.const 0) (i32.const 1)))
                (loop $l (i64.store (i32.const 96) (call $all (local.get $file)))
                  (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {passes}))))
                (call $write (i32.const 64) (i32.const 11) (i32.const 96) (i32.const 8)) (i32.const 0)""",
        )
        parts = {"main": Part(wasm=wasm, imports=FILES_IMPORTS, exports=(RUN,), entry=RUN, profile="files")}
        return graph(parts, [("file", "table", "main.table")], ["main.report"], max_bytes=BULK_BYTES), parts

    content = _content()
    reading = _difference(main(4), main(1), {"table": content}) / 3
    handing = _between(main(1), content, content[:MEBIBYTE]) - reading
    return BULK_BYTES / reading / GIGA, BULK_BYTES / handing / GIGA


def _content() -> bytes:
    return os.urandom(MEBIBYTE) * (BULK_BYTES // MEBIBYTE)


def _warm_start() -> float:
    """Load and instantiate a composite from its compiled form, against compiling it; one member is the demo's own."""
    authored = tomllib.loads((demo_folder() / "manifest.toml").read_text())
    [imports] = [tuple(each["imports"]) for each in authored["components"] if each["name"] == "regression"]
    members = (Member(imports=imports), Member(calls=((RUN, 0),), has_entry=True))
    engine = make_engine(counts_fuel=False, composed=True)
    regression = (demo_folder() / "components" / "regression.wasm").read_bytes()
    composite = compose(engine, members, [regression, runs_another().wasm], "go")
    compiled = Component(engine, composite).serialize()
    linker = Linker(engine)
    linker.add_wasip2()

    def start() -> None:
        store = Store(engine)
        store.set_wasi(WasiConfig())
        linker.instantiate(store, Component.deserialize(engine, compiled))

    compiling = min(seconds(lambda: Component(engine, composite)) for _ in range(ROUNDS))
    return min(seconds(start) for _ in range(ROUNDS * 100)) / compiling


def _chain_seconds() -> float:
    """Ten components, each of which copies a short file to the next."""
    names = [f"step{number}" for number in range(CHAIN)]
    part = Part(wasm=ACTOR, imports=ACTOR_IMPORTS, exports=(RUN,), entry=RUN, profile="files")
    parts = dict.fromkeys(names, part)
    copy = b"copy /in/previous/data /out/next/data"
    channels = [("file", f"script{number}", f"{name}.script") for number, name in enumerate(names)]
    channels += [("file", "first", "step0.previous")]
    channels += [("file", f"step{n}.next", f"step{n + 1}.previous") for n in range(CHAIN - 1)]
    outputs = [f"{name}.report" for name in names] + [f"step{CHAIN - 1}.next"]
    manifest = graph(parts, channels, outputs)
    data = {f"script{number}": copy for number in range(CHAIN)} | {"first": b"short"}
    return min(_seconds((manifest, parts), data)[0] for _ in range(ROUNDS))


def _growth_mib() -> float:
    """The most that this process has beyond what it had, while a large item passes through two nodes to an output."""
    part = Part(wasm=ACTOR, imports=ACTOR_IMPORTS, exports=(RUN,), entry=RUN, profile="files")
    parts = {"one": part, "two": part}
    channels = [("file", "script", f"{name}.script") for name in parts]
    channels += [("file", "large", "one.previous"), ("file", "one.next", "two.previous")]
    outputs = ["one.report", "two.report", "two.next"]
    manifest = graph(parts, channels, outputs, max_bytes=LARGE_BYTES, wall_seconds=120)
    runtime = admitted(manifest, parts)
    with closing(item("script", b"copy /in/previous/data /out/next/data")) as script, closing(_large()) as large:
        before = _forget_peak()
        result = runtime.run({"script": script, "large": large})
        grown = _status("VmHWM") - before
        if not result.completed:
            raise RuntimeError(dict(result.failures))
        for output in result.outputs.values():
            output.close()
    runtime.wipe()
    return grown / 1024


def _own_seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def _large() -> Item:
    writer = ItemWriter("large", max_bytes=LARGE_BYTES)
    piece = bytes(MEBIBYTE)
    for _ in range(LARGE_BYTES // MEBIBYTE):
        writer.write(piece)
    return writer.seal()


def _forget_peak() -> int:
    """Have the kernel forget the most that this process ever had; return what it has now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _difference(
    long: tuple[Manifest, dict[str, Part]], short: tuple[Manifest, dict[str, Part]], data: Mapping[str, bytes]
) -> float:
    """Processor seconds that the long run takes beyond the short one."""
    rounds = [(_seconds(long, data)[1], _seconds(short, data)[1]) for _ in range(ROUNDS)]
    return min(took for took, _ in rounds) - min(took for _, took in rounds)


def _between(one: tuple[Manifest, dict[str, Part]], long: bytes, short: bytes) -> float:
    rounds = [(_seconds(one, {"table": long})[1], _seconds(one, {"table": short})[1]) for _ in range(ROUNDS)]
    return min(took for took, _ in rounds) - min(took for _, took in rounds)


def _seconds(one: tuple[Manifest, dict[str, Part]], data: Mapping[str, bytes]) -> tuple[float, float]:
    """Seconds by the clock, and of all workers' processor time."""
    manifest, parts = one
    runtime = admitted(manifest, parts)
    items = {name: item(name, content) for name, content in data.items()}
    before, start = _workers_seconds(), time.perf_counter()
    result = runtime.run(items)
    took = time.perf_counter() - start, _workers_seconds() - before
    if not result.completed:
        raise RuntimeError(dict(result.failures))
    runtime.wipe()
    for each in (*items.values(), *result.outputs.values()):
        each.close()
    return took


def _workers_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
