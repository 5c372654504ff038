"""What the whole runtime adds to the bare engine, on kernels that run a second or more.

*Bare* is a process of its own that loads the same compiled component into an engine of the same settings and calls its
entry on plain folders in memory (`_bare_engine.py`): no walls, no limits, no copies. Both are timed from nothing
running to the outputs being there: for the runtime from `Runtime.run` to the sealed outputs, for the bare engine from
the start of the process to its end. The least of some rounds counts: what else the machine does can only add.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import wasmtime
from bench.ratio import Ratio, seconds
from tests.support.actor import MEBIBYTE, Stage, item, staged
from tests.support.wat_files import FILES_IMPORTS, files
from wasmtime.component import Component

import twocvm_guest
from twocvm_guest.runtime.engine import make_engine
from twocvm_guest.runtime.items import Item
from twocvm_guest.runtime.supervisor import Runtime

ROUNDS: Final = 12
LEAST_OF_BARE: Final = 1 / 1.03
SHARED_MEMORY: Final = "/dev/shm"
STREAMED_BYTES: Final = 16 * MEBIBYTE

_DONE: Final = "(call $write (i32.const 64) (i32.const 11) (i32.const 96) (i32.const 8)) (i32.const 0)"
_REPORT: Final = '(data (i32.const 64) "report/data") (data (i32.const 80) "table/data")'

# Reads a file of 16 MiB 160 times through WASI, a megabyte at a time, and adds up its numbers.
STREAM: Final = files(
    core=f"""{_REPORT}
      (func $pass (param $file i32) (result i64) (local $offset i64) (local $at i32) (local $end i32) (local $s i64)
        (loop $chunk
          (call $heap-to (i32.const 65536))
          (call $read-at (local.get $file) (i64.const {MEBIBYTE}) (local.get $offset) (i32.const 16))
          (local.set $at (i32.load (i32.const 20)))
          (local.set $end (i32.add (local.get $at) (i32.load (i32.const 24))))
          (local.set $offset (i64.add (local.get $offset) (i64.extend_i32_u (i32.load (i32.const 24)))))
          (block $empty (loop $l
            (br_if $empty (i32.ge_u (local.get $at) (local.get $end)))
            (local.set $s (i64.add (local.get $s) (i64.load (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br $l)))
          (br_if $chunk (i64.lt_u (local.get $offset) (i64.const {STREAMED_BYTES}))))
        (local.get $s))""",
    run=f"""(local $n i32) (local $file i32)
      (local.set $file (call $open (i32.const 0) (i32.const 80) (i32.const 10) (i32.const 0) (i32.const 1)))
      (loop $l
        (i64.store (i32.const 96) (i64.add (i64.load (i32.const 96)) (call $pass (local.get $file))))
        (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 160))))
      {_DONE}""",
)
# A dense product of 256 x 256 numbers of 64 bits, row by row, again and again.
PRODUCT: Final = files(
    core=f"""{_REPORT}
      (func $place (param $a i32) (param $row i32) (param $column i32) (result i32)
        (i32.add (local.get $a)
          (i32.shl (i32.add (i32.shl (local.get $row) (i32.const 8)) (local.get $column)) (i32.const 3))))
      (func $product (param $a i32) (local $i i32) (local $j i32) (local $k i32) (local $s f64)
        (loop $rows
          (local.set $j (i32.const 0))
          (loop $columns
            (local.set $s (f64.const 0)) (local.set $k (i32.const 0))
            (loop $l
              (local.set $s (f64.add (local.get $s) (f64.mul
                (f64.load (call $place (local.get $a) (local.get $i) (local.get $k)))
                (f64.load (call $place (local.get $a) (local.get $k) (local.get $j))))))
              (br_if $l (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 256))))
            (f64.store (i32.add (i32.const 524288) (call $place (local.get $a) (local.get $i) (local.get $j)))
              (local.get $s))
            (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (i32.const 256))))
          (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 256)))))""",
    run=f"""(local $a i32) (local $n i32) (local.set $a (call $room (i32.const 16)))
      (loop $l (call $product (local.get $a))
        (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20))))
      {_DONE}""",
)
# Follows a ring of 2^18 places in 1 MiB, each of which says where the next one is.
CHASE: Final = files(
    core=_REPORT,
    run=f"""(local $a i32) (local $n i32) (local $x i32) (local.set $a (call $room (i32.const 16)))
      (loop $make
        (i32.store (i32.add (local.get $a) (i32.shl (local.get $n) (i32.const 2)))
          (i32.and (i32.add (i32.mul (local.get $n) (i32.const 1664525)) (i32.const 1013904223)) (i32.const 0x3ffff)))
        (br_if $make (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 0x40000))))
      (local.set $n (i32.const 0))
      (loop $l
        (local.set $x (i32.load (i32.add (local.get $a) (i32.shl (local.get $x) (i32.const 2)))))
        (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300000000))))
      (i32.store (i32.const 96) (local.get $x)) {_DONE}""",
)


def run() -> Iterator[Ratio]:
    """Measure each kernel."""
    table = bytes(range(256)) * (STREAMED_BYTES // 256)
    for name, wasm, inputs in (
        ("streaming a file", STREAM, {"table": table}),
        ("dense product", PRODUCT, {}),
        ("pointer chase", CHASE, {}),
    ):
        ratio, took = _kernel(wasm, inputs)
        yield Ratio(
            name=f"bare engine / whole runtime, {name}",
            value=ratio,
            at_least=LEAST_OF_BARE,
            detail=f"a kernel of {took:.1f} s",
        )


def _kernel(wasm: bytes, inputs: dict[str, bytes]) -> tuple[float, float]:
    stage = Stage(wasm=wasm, imports=FILES_IMPORTS, inputs=inputs, wall_seconds=60)
    items = {f"item-{port}": item(port, content) for port, content in inputs.items()}
    # Admission is no part of what is measured, nor is compiling.
    waiting = [staged(stage) for _ in range(ROUNDS)]
    took: list[float] = []
    bare_took: list[float] = []
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        bare = _Bare(Path(folder), wasm, inputs)
        for runtime in waiting:
            bare_took.append(seconds(bare.run))
            took.append(seconds(partial(_complete, runtime, items)))
    for each in items.values():
        each.close()
    return min(bare_took) / min(took), min(took)


def _complete(runtime: Runtime, items: dict[str, Item]) -> None:
    result = runtime.run(items)
    if not result.completed:
        raise RuntimeError(dict(result.failures))
    for output in result.outputs.values():
        output.close()
    runtime.wipe()


class _Bare:
    """A component, compiled once, with its ports as folders in memory."""

    def __init__(self, folder: Path, wasm: bytes, inputs: dict[str, bytes]) -> None:
        self._folder = folder
        (folder / "compiled").write_bytes(Component(make_engine(counts_fuel=False), wasm).serialize())
        for port, content in inputs.items():
            (folder / "in" / port).mkdir(parents=True)
            (folder / "in" / port / "data").write_bytes(content)
        (folder / "in").mkdir(exist_ok=True)
        (folder / "out" / "report").mkdir(parents=True)

    def run(self) -> None:
        """Start the process and wait for its end."""
        packages = [str(Path(module.__file__ or "").parent.parent) for module in (twocvm_guest, wasmtime)]
        script = str(Path(__file__).with_name("_bare_engine.py"))
        arguments = [script, str(self._folder / "compiled"), str(self._folder), *packages]
        subprocess.run([sys.executable, "-I", "-S", *arguments], check=True, env={})
        if not (self._folder / "out" / "report" / "data").stat().st_size:
            raise RuntimeError("the bare engine left no output")
