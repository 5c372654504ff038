"""The same inputs give the same bytes and the same fuel: twice, beside other workers, and on another machine."""

from __future__ import annotations

import json
import math
import struct
import threading

import pytest
import wasmtime
from tests.support.actor import Stage, isolation, script, staged, wat
from tests.support.actor import run as run_stage
from tests.support.repeatable import CASES, RECORDED, outcome
from wasmtime.component import Component, Linker

from twocvm_guest.runtime import engine


@pytest.mark.parametrize("name", CASES)
def test_a_run_gives_what_was_recorded_on_another_machine(name: str) -> None:
    """Every output has the recorded digest, and every node used the recorded fuel, to the instruction."""
    if name == "identities" and not isolation().has_folders:
        pytest.skip("no mount namespace here, so files have the identities of a folder that others use too")
    assert outcome(CASES[name]()) == json.loads(RECORDED.read_text())[name]


def test_who_else_runs_does_not_show() -> None:
    """A run beside another worker, whose mounts and processes exist at the same time, gives the very same."""
    beside = Stage(inputs=script("loop"), wall_seconds=15)
    other = staged(beside)
    thread = threading.Thread(target=run_stage, args=(other, beside))
    thread.start()
    try:
        for name in ("actor", "identities") if isolation().has_folders else ("actor",):
            assert outcome(CASES[name]()) == json.loads(RECORDED.read_text())[name]
    finally:
        other.wipe()
        thread.join()


# Each kind of NaN that an operation may be given, and numbers that make new ones.
F64: dict[str, int] = {
    "quiet": 0x7FF8_0000_0000_1234,
    "negative": 0xFFF8_0000_0000_0000,
    "signalling": 0x7FF0_0000_0000_0001,
    "infinity": 0x7FF0_0000_0000_0000,
    "minus-infinity": 0xFFF0_0000_0000_0000,
    "zero": 0,
    "minus-one": 0xBFF0_0000_0000_0000,
}
F32: dict[str, int] = {
    "quiet": 0x7FC0_1234,
    "negative": 0xFFC0_0000,
    "signalling": 0x7F80_0001,
    "infinity": 0x7F80_0000,
    "minus-infinity": 0xFF80_0000,
    "zero": 0,
    "minus-one": 0xBF80_0000,
}
UNARY = ("sqrt", "ceil", "floor", "trunc", "nearest")
BINARY = ("add", "sub", "mul", "div", "min", "max")


def _scalar(bits: int, name: str) -> str:
    """A function on the bits of two numbers."""
    kind, word = f"f{bits}", f"i{bits}"
    arguments = "".join(f"({kind}.reinterpret_{word} (local.get {n}))" for n in range(2 if name in BINARY else 1))
    return f"(i64.extend_i32_u (i32.reinterpret_f32 ({kind}.{name} {arguments})))" if bits == 32 else (
        f"(i64.reinterpret_f64 ({kind}.{name} {arguments}))"
    )  # fmt: skip


def _lanes(bits: int, name: str, count: int) -> str:
    shape, word = ("f32x4", "i32x4") if bits == 32 else ("f64x2", "i64x2")
    arguments = " ".join(f"({word}.splat (local.get {min(n, 1)}))" for n in range(count))
    taken = f"({word}.extract_lane 1 ({shape}.{name} {arguments}))"
    return f"(i64.extend_i32_u {taken})" if bits == 32 else taken


def _operations(bits: int) -> dict[str, str]:
    relaxed = {"relaxed_madd": 3, "relaxed_nmadd": 3, "relaxed_min": 2, "relaxed_max": 2}
    found = {f"scalar-{name}": _scalar(bits, name) for name in (*UNARY, *BINARY)}
    found |= {f"lanes-{name}": _lanes(bits, name, 2 if name in BINARY else 1) for name in (*UNARY, *BINARY)}
    found |= {f"lanes-{name.replace('_', '-')}": _lanes(bits, name, count) for name, count in relaxed.items()}
    if bits == 64:
        demoted = "(f32.demote_f64 (f64.reinterpret_i64 (local.get 0)))"
        found["promoted"] = f"(i64.reinterpret_f64 (f64.promote_f32 {demoted}))"
        lanes = "(f32x4.demote_f64x2_zero (i64x2.splat (local.get 0)))"
        found["lanes-promoted"] = f"(i64x2.extract_lane 0 (f64x2.promote_low_f32x4 {lanes}))"
    else:
        found["demoted"] = """(i64.extend_i32_u (i32.reinterpret_f32 (f32.demote_f64 (f64.promote_f32
            (f32.reinterpret_i32 (local.get 0))))))"""
    return found


@pytest.mark.parametrize("bits", [32, 64])
def test_every_nan_that_an_operation_makes_is_the_canonical_one(bits: int) -> None:
    """Whatever goes into any floating-point operation, scalar or in lanes: a NaN that comes out has the one pattern."""
    word, operations = "u32" if bits == 32 else "u64", _operations(bits)
    kind, lift = f"(param i{bits} i{bits}) (result i64)", f'(param "a" {word}) (param "b" {word}) (result u64)'
    core = "".join(f'(func (export "{name}") {kind} {body})' for name, body in operations.items())
    lifted = "".join(f'(func (export "{name}") {lift} (canon lift (core func $i "{name}")))' for name in operations)
    made = engine.make_engine(counts_fuel=False)
    store = wasmtime.Store(made)
    text = f"(component (core module $m {core}) (core instance $i (instantiate $m)) {lifted})"
    instance = Linker(made).instantiate(store, Component(made, wat(text)))
    values, canonical = (F32, 0x7FC0_0000) if bits == 32 else (F64, 0x7FF8_0000_0000_0000)
    seen = set()
    for name in operations:
        function = instance.get_func(store, name)
        assert function is not None
        for left in values.values():
            for right in values.values():
                result = function(store, left, right)
                if math.isnan(_number(bits, result)):
                    seen.add(name)
                    assert result == canonical, (name, hex(left), hex(right), hex(result))
    assert seen == set(operations)


@pytest.mark.parametrize("name", ["f64.neg", "f64.abs", "f64.copysign", "f64x2.neg", "f64x2.pmin"])
def test_operations_on_bits_keep_the_bits(name: str) -> None:
    """Operations that are defined on bits leave a NaN's payload as WebAssembly says, so they need no canonical form."""
    lanes = "x2" in name
    convert = "(i64x2.splat (local.get {}))" if lanes else "(f64.reinterpret_i64 (local.get {}))"
    count = 2 if name.endswith(("copysign", "pmin")) else 1
    applied = f"({name} {''.join(convert.format(n) for n in range(count))})"
    taken = f"(i64x2.extract_lane 0 {applied})" if lanes else f"(i64.reinterpret_f64 {applied})"
    made = engine.make_engine(counts_fuel=False)
    store = wasmtime.Store(made)
    text = f"""(component (core module $m (func (export "go") (param i64 i64) (result i64) {taken}))
        (core instance $i (instantiate $m))
        (func (export "go") (param "a" u64) (param "b" u64) (result u64) (canon lift (core func $i "go"))))"""
    function = Linker(made).instantiate(store, Component(made, wat(text))).get_func(store, "go")
    assert function is not None
    result = function(store, F64["signalling"], F64["quiet"])
    assert result & (1 << 63) - 1 == F64["signalling"]


def _number(bits: int, pattern: int) -> float:
    (value,) = struct.unpack("<f" if bits == 32 else "<d", struct.pack("<I" if bits == 32 else "<Q", pattern))
    return float(value)
