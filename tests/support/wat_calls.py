"""Small components that call each other, written as text.

adder()                            exports test:calls/adder: add
caller(takes=..., body=...)        a component of the profile `files` that calls what it imports
"""

from __future__ import annotations

from typing import Final

from tests.support.actor import wat
from tests.support.graphs import Part
from tests.support.wat_files import FILES_IMPORTS, RUN, files

ADDER: Final = "test:calls/adder@1.0.0"
ADD_TYPE: Final = '(func (param "a" u64) (param "b" u64) (result u64))'
# Where a caller leaves eight bytes that it then writes to its port `report`.
RESULT: Final = 96


def adder(*, add_type: str = ADD_TYPE, also: str = "", beside: str = "") -> Part:
    """A component that adds two numbers; it exports the same as `also`, and has the definitions `beside`."""
    more = f'(export "{also}" (func $add))' if also else ""
    text = f"""(component {beside}
      (core module $m
        (func (export "add") (param i64 i64) (result i64) (i64.add (local.get 0) (local.get 1))))
      (core instance $i (instantiate $m))
      (type $t {add_type})
      (func $add (type $t) (canon lift (core func $i "add")))
      (instance $x (export "add" (func $add)) {more})
      (export "{ADDER}" (instance $x)))"""
    return Part(wasm=wat(text), exports=(ADDER,))


def calls_adder(body: str, *, core: str = "") -> Part:
    """A component with an entry that calls `$add` in `body`, which leaves an i64, and writes that."""
    return caller(
        takes={ADDER: f'(export "add" {ADD_TYPE})'},
        lowered=f'(core func $add (canon lower (func $"{ADDER}" "add")))',
        given={"add": "(param i64 i64) (result i64)"},
        body=body,
        core=core,
    )


def caller(*, takes: dict[str, str], lowered: str, given: dict[str, str], body: str, core: str = "") -> Part:
    """A component with an entry that writes the number which it has called others for.

    Args:
        takes: Each interface that it imports, with the inside of its type; the text calls it by its name.
        lowered: Definitions of core functions of the names in `given`.
        given: What the core module imports of them, with its core type.
        body: Leaves an i64.
        core: Further definitions of the core module.
    """
    imports = "".join(f'(import "{name}" (instance $"{name}" {inside}))' for name, inside in takes.items())
    exports = "".join(f'(export "{name}" (func ${name}))' for name in given)
    wasm = files(
        imports=imports,
        lowered=f"{lowered} (core instance $calls {exports})",
        given='(with "calls" (instance $calls))',
        imported="".join(f'(import "calls" "{name}" (func ${name} {kind}))' for name, kind in given.items()),
        core=f'(data (i32.const 64) "report/data") {core}',
        run=f"""(i64.store (i32.const {RESULT}) {body})
            (call $write (i32.const 64) (i32.const 11) (i32.const {RESULT}) (i32.const 8)) (i32.const 0)""",
    )
    return Part(wasm=wasm, imports=(*takes, *FILES_IMPORTS), exports=(RUN,), entry=RUN, profile="files")


def number(report: bytes) -> int:
    """Return the number that a caller wrote."""
    return int.from_bytes(report, "little")


def list_taker(size_bytes: int) -> Part:
    """A component that is given a list of numbers, always in the same place of its memory, and returns the last."""
    interface = "test:calls/lists@1.0.0"
    text = f"""(component
      (core module $m (memory (export "memory") {(size_bytes >> 16) + 1})
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
        (func (export "take") (param i32 i32) (result i64)
          (i64.load (i32.add (local.get 0) (i32.shl (i32.sub (local.get 1) (i32.const 1)) (i32.const 3))))))
      (core instance $i (instantiate $m))
      (func $take (param "values" (list u64)) (result u64) (canon lift (core func $i "take")
        (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
      (instance $x (export "take" (func $take)))
      (export "{interface}" (instance $x)))"""
    return Part(wasm=wat(text), exports=(interface,))


def runs_another() -> Part:
    """A component without files whose entry `go` calls the `wasi:cli/run` of another."""
    text = f"""(component
      (import "{RUN}" (instance $other (export "run" (func (result (result))))))
      (core func $run (canon lower (func $other "run")))
      (core module $m (import "o" "run" (func $run (result i32))) (func (export "go") (drop (call $run))))
      (core instance $i (instantiate $m (with "o" (instance (export "run" (func $run))))))
      (func (export "go") (canon lift (core func $i "go"))))"""
    return Part(wasm=wat(text), imports=(RUN,), exports=("go",), entry="go")
