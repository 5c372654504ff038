"""Components that read windows, written as text."""

from __future__ import annotations

from typing import Final

from tests.support.actor import wat
from tests.support.graphs import Part
from tests.support.wat_files import FILES_IMPORTS, RUN, files

from twocvm_verifier.manifest.profiles import WINDOWS_INTERFACE

SIZE: Final = '(func (param "port" string) (result u64))'
PLACE: Final = '(func (param "port" string) (param "address" u32))'
IMPORT: Final = f'(import "{WINDOWS_INTERFACE}" (instance $w (export "size" {SIZE}) (export "place" {PLACE})))'
LOWERED: Final = """
    (core func $size (canon lower (func $w "size") (memory $mem)))
    (core func $place (canon lower (func $w "place") (memory $mem)))
    (core instance $windows (export "size" (func $size)) (export "place" (func $place)))
"""
IMPORTED: Final = """
    (import "windows" "size" (func $size (param i32 i32) (result i64)))
    (import "windows" "place" (func $place (param i32 i32 i32)))
"""
# The sum of all 64-bit numbers from `at` to `end`, in lanes as wide as the engine has.
SUM: Final = """
  (func $sum (param $at i32) (param $end i32) (result i64) (local $s v128)
    (block $done (loop $l
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $s (i64x2.add (local.get $s)
        (i64x2.add (v128.load (local.get $at)) (v128.load offset=16 (local.get $at)))))
      (local.set $s (i64x2.add (local.get $s)
        (i64x2.add (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br $l)))
    (i64.add (i64x2.extract_lane 0 (local.get $s)) (i64x2.extract_lane 1 (local.get $s))))
"""
# Room for the window of the port `table`, the window in it, and where it lies.
OPEN: Final = """
  (func $lay (result i32) (local $at i32)
    (local.set $at (call $room (i32.wrap_i64
      (i64.div_u (i64.add (call $size (i32.const 80) (i32.const 5)) (i64.const 65535)) (i64.const 65536)))))
    (call $place (i32.const 80) (i32.const 5) (local.get $at))
    (local.get $at))
"""


def window_reader(body: str, *, core: str = "") -> Part:
    """A component with files that leaves an i64 in `body` and writes it; it finds `$lay`, `$sum`, `$size`, `$place`."""
    wasm = files(
        imports=IMPORT,
        lowered=LOWERED,
        given='(with "windows" (instance $windows))',
        imported=IMPORTED,
        core=f'(data (i32.const 64) "report/data") (data (i32.const 80) "tableother") {SUM} {OPEN} {core}',
        run=f"""(i64.store (i32.const 96) {body})
            (call $write (i32.const 64) (i32.const 11) (i32.const 96) (i32.const 8)) (i32.const 0)""",
    )
    return Part(wasm=wasm, imports=(WINDOWS_INTERFACE, *FILES_IMPORTS), exports=(RUN,), entry=RUN, profile="files")


def pure_reader(interface: str, body: str, *, memories: str = "") -> Part:
    """A component without files that exports `read: func() -> u64`, which is `body`."""
    return Part(
        imports=(WINDOWS_INTERFACE,),
        exports=(interface,),
        wasm=wat(f"""(component
      {IMPORT} {memories}
      (core module $memory (memory (export "memory") 1) (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        unreachable))
      (core instance $memory (instantiate $memory))
      (alias core export $memory "memory" (core memory $mem))
      {LOWERED}
      (core module $m {IMPORTED} (import "memory" "memory" (memory 1))
        (data (i32.const 80) "tableother") {SUM}
        (func $room (param $pages i32) (result i32)
          (i32.mul (memory.grow (local.get $pages)) (i32.const 65536)))
        {OPEN}
        (func (export "read") (result i64) {body}))
      (core instance $i (instantiate $m (with "windows" (instance $windows)) (with "memory" (instance $memory))))
      (func $read (result u64) (canon lift (core func $i "read")))
      (instance $x (export "read" (func $read))) (export "{interface}" (instance $x)))"""),
    )


def sum_of(content: bytes) -> int:
    """Return what `$sum` gives for a content of whole 64-bit numbers."""
    words = (int.from_bytes(content[at : at + 8], "little") for at in range(0, len(content), 8))
    return sum(words) % (1 << 64)
