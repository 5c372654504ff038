"""The build's last step: custom sections go, everything else stays."""

from __future__ import annotations

import wasmtime
from tools.strip_wasm import strip
from wasmtime import component as wasm

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
