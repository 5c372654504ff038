"""What is done to the outermost structure of a binary, and that the rest stays as it is."""

from __future__ import annotations

import wasmtime
from wasmtime import component as wasm

from twocvm_guest.authoring.binary import rename, replace_first_module, strip

NAMED = """
(component
  (core module $outer (func $a_telling_name (export "f") (result i32) i32.const 7))
  (component $inner (core module (func $another_name (export "g"))))
  (core instance $i (instantiate $outer))
  (func (export "f") (result u32) (canon lift (core func $i "f"))))
"""


def test_names_are_gone_at_every_depth() -> None:
    """Neither a module's nor a nested component's names are left."""
    binary = bytes(wasmtime.wat2wasm(NAMED))
    assert b"a_telling_name" in binary
    assert b"another_name" in binary
    stripped = strip(binary)
    assert b"_name" not in stripped
    assert strip(stripped) == stripped


def test_what_it_computes_stays() -> None:
    """A stripped component does what it did."""
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    component = wasm.Component(engine, strip(bytes(wasmtime.wat2wasm(NAMED))))
    function = wasm.Linker(engine).instantiate(store, component).get_func(store, "f")
    assert function is not None
    assert function(store) == 7


def test_the_first_module_alone_is_replaced() -> None:
    """Another core module takes the place of the first, and of no other."""
    binary = strip(bytes(wasmtime.wat2wasm('(component (core module) (core module (func (export "g"))))')))
    other = bytes(wasmtime.wat2wasm('(module (func (export "a-longer-name-than-before")))'))
    replaced = replace_first_module(binary, other)
    assert replaced.count(b"a-longer-name-than-before") == 1
    assert replaced.endswith(binary[-16:])
    wasm.Component(wasmtime.Engine(), replaced)


def test_renaming_reaches_imports_and_exports_alone() -> None:
    """Names at the component's border change; the same text inside it does not."""
    text = """(component (import "host:a/b@1.0.0" (instance))
        (core module (import "host:a/b@1.0.0" "f" (func)))
        (component $inner) (instance $it (instantiate $inner)) (export "host:a/c@1.0.0" (instance $it)))"""
    component = wasm.Component(wasmtime.Engine(), rename(bytes(wasmtime.wat2wasm(text)), b"host:", b"wasi:"))
    engine = wasmtime.Engine()
    assert set(component.type.imports(engine)) == {"wasi:a/b@1.0.0"}
    assert set(component.type.exports(engine)) == {"wasi:a/c@1.0.0"}
    assert b"host:a/b@1.0.0" in rename(bytes(wasmtime.wat2wasm(text)), b"host:", b"wasi:")
